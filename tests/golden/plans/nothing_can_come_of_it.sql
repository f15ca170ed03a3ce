SELECT r.run, count(*) AS n FROM summit.raw r JOIN ncsa.calexp c ON c.visit = r.exposure
WHERE r.detector = 3 AND r.detector IN (4, 5) GROUP BY r.run
UNION ALL SELECT c.run, 1 FROM ncsa.calexp c JOIN base.dataset_type t ON t.name = c.run
