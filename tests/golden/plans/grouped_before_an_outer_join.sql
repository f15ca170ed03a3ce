SELECT v.id, count(*) AS n, count(r.dataset_id) AS raws, count(*) FILTER (WHERE r.detector > 3) AS far
FROM ncsa.visit v LEFT JOIN summit.raw r ON r.exposure = v.id GROUP BY v.id
