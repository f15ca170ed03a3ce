"""Statements that join sources of several sites, in every way."""

# ruff: noqa: E501
from __future__ import annotations

JOINS = """
SELECT r.dataset_id, c.psf_fwhm FROM raw r JOIN calexp c ON c.visit = r.exposure AND c.detector = r.detector AND c.instrument = r.instrument
SELECT r.dataset_id, v.name FROM raw r LEFT JOIN visit v ON v.id = r.exposure AND v.seq_num = r.detector
SELECT r.dataset_id, v.name FROM visit v RIGHT JOIN raw r ON v.id = r.exposure WHERE r.detector < 4
SELECT r.dataset_id, v.name FROM visit v FULL JOIN summit.raw r ON v.id = r.exposure
SELECT v.id, r.detector, b.run FROM visit v JOIN raw r ON r.exposure = v.id LEFT JOIN bias b ON b.detector = r.detector
SELECT v.id, r.detector, b.run FROM visit v LEFT JOIN raw r ON r.exposure = v.id LEFT JOIN bias b ON b.detector = r.detector
SELECT v.id, r.detector, b.run FROM visit v LEFT JOIN raw r ON r.exposure = v.id JOIN bias b ON b.detector = r.detector
SELECT v.id, r.detector, b.run FROM visit v JOIN raw r ON r.exposure = v.id RIGHT JOIN bias b ON b.detector = r.detector
SELECT v.id, r.detector, b.run FROM visit v JOIN raw r ON r.exposure = v.id RIGHT JOIN bias b ON b.detector = r.detector WHERE v.seq_num = b.detector
SELECT v.id, r.detector, b.run FROM visit v FULL JOIN raw r ON r.exposure = v.id JOIN bias b ON b.detector = v.id
SELECT e.id, v.name FROM exposure e, visit v, bias b WHERE e.id = v.id AND b.detector = v.id
SELECT r.dataset_id FROM raw r WHERE EXISTS (SELECT 1 FROM calexp c WHERE c.visit = r.exposure AND c.detector = r.detector)
SELECT r.dataset_id FROM raw r WHERE NOT EXISTS (SELECT 1 FROM calexp c WHERE c.visit = r.exposure AND c.detector = r.detector)
SELECT r.dataset_id FROM raw r WHERE NOT EXISTS (SELECT 1 FROM calexp c JOIN visit v ON v.id = c.visit WHERE c.visit = r.exposure AND r.instrument = 'Cam')
SELECT r.dataset_id FROM raw r WHERE r.exposure IN (SELECT c.visit FROM calexp c WHERE c.detector > 2)
SELECT r.dataset_id FROM raw r WHERE r.exposure NOT IN (SELECT c.visit FROM calexp c WHERE c.detector > 2)
SELECT r.dataset_id FROM raw r WHERE r.exposure NOT IN (SELECT c.visit FROM calexp c WHERE c.detector > 77)
SELECT e.id FROM exposure e WHERE e.seq_num NOT IN (SELECT c.visit FROM calexp c WHERE c.detector > 2)
SELECT e.id FROM exposure e WHERE e.seq_num NOT IN (SELECT c.visit FROM calexp c WHERE c.detector > 77)
SELECT r.dataset_id FROM raw r WHERE r.exposure NOT IN (SELECT v.seq_num FROM visit v WHERE v.id > 2)
SELECT e.id, b.run FROM exposure e LEFT JOIN bias b ON b.detector = e.id WHERE b.detector NOT IN (SELECT c.visit FROM calexp c WHERE c.detector > 77)
SELECT r.dataset_id FROM raw r WHERE (r.exposure, r.detector) IN (SELECT c.visit, c.detector FROM calexp c)
SELECT r.dataset_id FROM raw r WHERE r.exposure = ANY (SELECT c.visit FROM calexp c)
SELECT r.dataset_id FROM raw r WHERE EXISTS (SELECT 1 FROM calexp c WHERE c.visit = r.exposure) OR r.detector = 1
SELECT r.dataset_id FROM raw r WHERE EXISTS (SELECT count(*) FROM calexp c WHERE c.visit = r.exposure)
SELECT r.dataset_id FROM raw r WHERE EXISTS (SELECT 1 FROM calexp c WHERE c.visit = r.exposure GROUP BY c.detector HAVING count(*) > 1)
SELECT r.dataset_id, (SELECT max(c.psf_fwhm) FROM calexp c WHERE c.visit = r.exposure) FROM raw r
SELECT r.dataset_id, q.n FROM raw r JOIN (SELECT visit, count(*) AS n FROM calexp GROUP BY visit) q ON q.visit = r.exposure
SELECT r.dataset_id, q.n FROM raw r JOIN (SELECT visit, count(*) AS n FROM calexp GROUP BY visit) q ON q.n = r.exposure
SELECT r.dataset_id, q.visit FROM raw r JOIN (SELECT DISTINCT visit, detector FROM calexp) q ON q.visit = r.exposure
SELECT r.dataset_id, q.visit FROM raw r JOIN (SELECT visit FROM calexp ORDER BY dataset_id LIMIT 3) q ON q.visit = r.exposure
SELECT r.dataset_id, q.n FROM raw r JOIN (SELECT visit, row_number() OVER (PARTITION BY visit ORDER BY dataset_id) AS n FROM calexp) q ON q.visit = r.exposure
SELECT r.dataset_id, q.n FROM raw r JOIN (SELECT visit, row_number() OVER (ORDER BY dataset_id) AS n FROM calexp) q ON q.visit = r.exposure
SELECT r.dataset_id, q.n FROM raw r JOIN (SELECT visit, sum(detector) OVER (PARTITION BY visit) AS n FROM calexp) q ON q.visit = r.exposure
SELECT v.id, q.d FROM visit v JOIN (SELECT exposure AS x, detector AS d FROM raw UNION ALL SELECT visit, detector FROM calexp) q ON q.x = v.id
SELECT v.id, q.d FROM visit v JOIN (SELECT exposure AS x, detector AS d FROM raw UNION SELECT detector, 7 FROM bias) q ON q.x = v.id
SELECT v.id, q.x FROM visit v JOIN (SELECT exposure AS x FROM raw EXCEPT SELECT detector FROM bias) q ON q.x = v.id
SELECT v.id, q.x FROM visit v JOIN (SELECT exposure AS x FROM raw INTERSECT SELECT detector FROM bias) q ON q.x = v.id
SELECT d.dataset_id, r.exposure FROM dataset d JOIN raw r ON r.dataset_id = d.dataset_id AND r.run = d.run
SELECT d.dataset_id, r.exposure FROM dataset d JOIN raw r ON r.dataset_id = d.dataset_id AND r.origin = d.origin
SELECT c.dataset_id, d.dataset_type FROM calexp c JOIN dataset d ON d.origin = c.origin AND d.run = c.run WHERE c.detector = 2
SELECT e.id, c.detector FROM exposure e JOIN calexp c ON c.instrument = e.instrument AND c.visit = e.id AND c.psf_fwhm = e.exposure_time
SELECT d.dataset_id, r.visit FROM dataset d JOIN alice.calexp r ON r.visit = 3 AND r.run = d.run
SELECT p.task, r.exposure FROM provenance p JOIN raw r ON r.dataset_id = p.input_id JOIN calexp c ON c.dataset_id = p.dataset_id
SELECT a.dataset_id, b.dataset_id FROM raw a JOIN raw b ON a.exposure = b.detector JOIN visit v ON v.id = b.exposure
WITH q AS (SELECT visit, detector FROM calexp) SELECT r.exposure, a.detector, b.visit FROM raw r JOIN q a ON a.visit = r.exposure JOIN q b ON b.detector = r.detector
SELECT k.timespan_begin, v.id FROM calibration k JOIN visit v ON v.timespan_begin = k.timespan_begin
SELECT r.exposure, (SELECT count(*) FROM visit v WHERE v.id = r.exposure AND v.seq_num IN (SELECT b.detector FROM bias b WHERE b.detector = r.detector)) FROM raw r
SELECT r.exposure, l.n FROM summit.raw r CROSS JOIN LATERAL (SELECT count(*) AS n FROM calexp c WHERE c.visit = r.exposure) l
SELECT r.exposure, v.id FROM raw r LEFT JOIN calexp c ON c.visit = r.exposure LEFT JOIN visit v ON v.id = c.visit AND v.seq_num = r.detector WHERE c.detector = 2 OR c.detector IS NULL
SELECT x.n, b.detector FROM bias b JOIN (SELECT r.exposure AS n FROM raw r LEFT JOIN visit v ON v.id = r.exposure WHERE v.id IS NULL) x ON x.n = b.detector
SELECT x.n, b.detector FROM bias b JOIN (SELECT v.id AS n FROM raw r LEFT JOIN visit v ON v.id = r.exposure) x ON x.n = b.detector
""".strip().splitlines()
