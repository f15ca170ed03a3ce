SELECT r.dataset_id, r.exposure, v.name FROM summit.raw r LEFT JOIN ncsa.visit v ON v.id = r.exposure
WHERE r.detector = 3 ORDER BY r.exposure DESC, r.dataset_id LIMIT 20 OFFSET 5
