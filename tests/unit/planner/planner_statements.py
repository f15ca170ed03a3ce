"""Statements that are answered in several ways and must give the same rows."""

# ruff: noqa: E501
#: statements; those that begin with "ordered:" must agree in order too
QUERIES = """
SELECT * FROM raw
SELECT * FROM summit.raw WHERE exposure > 3
SELECT * FROM calexp
SELECT dataset_id, origin, psf_fwhm FROM calexp WHERE psf_fwhm < 1.1
SELECT dataset_id, run FROM calexp WHERE visit IN (1, 2, 3) AND psf_fwhm IS NOT NULL
SELECT * FROM alice.calexp
SELECT * FROM dataset WHERE dataset_id < '00000000-0000-0000-0000-000000000010'
SELECT dataset_id, origin FROM dataset WHERE dataset_id IN ('00000000-0000-0000-0000-000000000003', '00000000-0000-0000-0000-000000000004')
SELECT origin, count(*) FROM dataset GROUP BY origin
SELECT r.dataset_id, c.dataset_id AS calexp_id, c.psf_fwhm FROM raw r JOIN calexp c ON c.visit = r.exposure AND c.detector = r.detector
SELECT r.dataset_id, c.psf_fwhm FROM raw r JOIN ncsa.calexp c ON c.visit = r.exposure AND c.detector = r.detector WHERE r.exposure = 3 AND c.psf_fwhm > 0.6
SELECT r.exposure, c.visit, c.origin FROM raw r LEFT JOIN calexp c ON c.visit = r.exposure AND c.psf_fwhm < 1 AND r.detector > 2
SELECT r.exposure, c.visit FROM summit.raw r LEFT JOIN ncsa.calexp c ON c.visit = r.exposure WHERE c.visit IS NULL
SELECT r.exposure, c.visit, r.origin FROM summit.raw r RIGHT JOIN ncsa.calexp c ON c.visit = r.exposure AND r.detector = 1 WHERE c.detector < 4
SELECT r.exposure, c.visit FROM (SELECT DISTINCT exposure FROM raw) r FULL JOIN (SELECT DISTINCT visit FROM calexp) c ON c.visit = r.exposure
SELECT r.detector, c.detector FROM raw r FULL JOIN bias c ON r.detector = c.detector AND r.exposure = 2 AND c.run = 'a'
SELECT count(*) FROM raw r CROSS JOIN visit v WHERE r.exposure = v.id OR v.id = 2
SELECT v.physical_filter, count(*) AS n, avg(c.psf_fwhm) FROM calexp c JOIN visit v ON v.id = c.visit AND v.instrument = c.instrument GROUP BY v.physical_filter
SELECT e.id, e.can_see_sky, r.detector, v.name FROM exposure e JOIN raw r ON r.exposure = e.id AND r.instrument = e.instrument JOIN visit v ON v.id = e.id AND v.instrument = e.instrument
SELECT e.id, count(r.dataset_id) FROM exposure e LEFT JOIN raw r ON r.exposure = e.id GROUP BY e.id
SELECT r.dataset_id FROM raw r WHERE NOT EXISTS (SELECT 1 FROM calexp c WHERE c.visit = r.exposure AND c.detector = r.detector)
SELECT r.dataset_id FROM raw r WHERE EXISTS (SELECT 1 FROM calexp c WHERE c.visit = r.exposure AND c.psf_fwhm > 1)
SELECT r.dataset_id FROM raw r WHERE r.exposure IN (SELECT visit FROM ncsa.calexp WHERE psf_fwhm > 1)
SELECT r.dataset_id FROM raw r WHERE r.exposure NOT IN (SELECT visit FROM calexp)
SELECT r.dataset_id FROM raw r WHERE r.exposure NOT IN (SELECT seq_num FROM visit)
SELECT id FROM visit WHERE seq_num NOT IN (SELECT detector FROM bias WHERE detector > 5)
SELECT id, seq_num FROM exposure WHERE seq_num NOT IN (1, 2, NULL)
SELECT id, (SELECT max(c.psf_fwhm) FROM calexp c WHERE c.visit = v.id) AS worst FROM visit v
SELECT id, (SELECT count(*) FROM raw r WHERE r.exposure = v.id) FROM visit v
SELECT (SELECT count(*) FROM raw) AS raws, (SELECT min(visit) FROM calexp) AS first
SELECT exposure, count(*) AS n FROM raw GROUP BY exposure HAVING count(*) > 3
SELECT exposure, count(DISTINCT detector), min(run), max(dataset_id) FROM raw GROUP BY 1
SELECT sum(exposure), avg(detector), sum(exposure) / count(*), max(exposure) % 3 FROM raw
SELECT sum(psf_fwhm), avg(psf_fwhm), min(psf_fwhm), max(psf_fwhm), count(psf_fwhm) FROM ncsa.calexp
SELECT sum(visit), count(*) FROM calexp WHERE visit > 100
SELECT exposure FROM raw UNION SELECT visit FROM calexp
SELECT exposure, 'raw' AS kind FROM raw UNION ALL SELECT visit, 'calexp' FROM calexp
SELECT exposure FROM raw INTERSECT SELECT visit FROM calexp
SELECT exposure FROM raw EXCEPT SELECT visit FROM calexp WHERE detector = 1
SELECT exposure FROM raw EXCEPT ALL SELECT visit FROM calexp
SELECT exposure FROM raw UNION (SELECT detector FROM raw INTERSECT SELECT exposure FROM raw WHERE detector > 5)
(SELECT exposure FROM raw UNION SELECT detector FROM raw) INTERSECT SELECT id FROM exposure
(SELECT exposure FROM raw ORDER BY exposure, detector LIMIT 3) UNION ALL (SELECT id FROM exposure ORDER BY id DESC LIMIT 2)
SELECT detector FROM raw UNION ALL SELECT detector FROM bias UNION SELECT detector FROM calexp
ordered: SELECT dataset_id, exposure FROM raw ORDER BY exposure DESC, dataset_id LIMIT 5
ordered: SELECT dataset_id, psf_fwhm FROM calexp ORDER BY psf_fwhm, dataset_id
ordered: SELECT dataset_id, psf_fwhm FROM calexp ORDER BY psf_fwhm DESC, dataset_id LIMIT 7 OFFSET 2
ordered: SELECT dataset_id, psf_fwhm FROM ncsa.calexp ORDER BY psf_fwhm DESC NULLS LAST, dataset_id
ordered: SELECT id, name FROM exposure e LEFT JOIN dataset_type ON false ORDER BY obs_id, id
ordered: SELECT run, dataset_id FROM raw ORDER BY run, 2
ordered: SELECT run FROM raw UNION SELECT run FROM calexp ORDER BY run DESC
ordered: SELECT dataset_id, 'x' AS t FROM raw UNION ALL SELECT dataset_id, 'y' FROM calexp ORDER BY dataset_id DESC, t LIMIT 9
ordered: SELECT id, timespan_begin FROM visit ORDER BY timespan_begin, id
ordered: SELECT exposure, count(*) AS n FROM summit.raw GROUP BY exposure ORDER BY n DESC, exposure FETCH FIRST 3 ROWS ONLY
WITH c AS (SELECT visit, count(*) AS n FROM calexp GROUP BY visit) SELECT r.exposure, c.n FROM raw r JOIN c ON c.visit = r.exposure
WITH c AS (SELECT * FROM calexp WHERE psf_fwhm > 0.6) SELECT a.visit, b.detector FROM c a JOIN c b ON a.dataset_id = b.dataset_id
WITH raw AS (SELECT * FROM raw WHERE exposure > 4) SELECT detector, count(*) FROM raw GROUP BY detector
WITH a AS (SELECT exposure FROM raw), b AS (SELECT exposure FROM a WHERE exposure > 2) SELECT count(*) FROM b JOIN visit ON id = exposure
WITH RECURSIVE up AS (SELECT dataset_id, input_id FROM provenance WHERE dataset_id < '00000000-0000-0000-0000-000000000005' UNION SELECT p.dataset_id, p.input_id FROM provenance p JOIN up ON p.dataset_id = up.input_id) SELECT count(*), min(input_id) FROM up
SELECT CASE WHEN psf_fwhm > 1 THEN 'bad' WHEN psf_fwhm IS NULL THEN 'none' ELSE 'good' END AS quality, count(*) FROM calexp GROUP BY 1
SELECT CASE visit WHEN 1 THEN 10 WHEN 2 THEN 20 END AS code FROM ncsa.calexp
SELECT coalesce(psf_fwhm, 9.5), nullif(visit, 3) FROM ncsa.calexp
SELECT id FROM visit WHERE timespan_begin > '2026-01-01 00:00:00'
SELECT id FROM visit WHERE timespan_begin >= TIMESTAMP '2026-01-01 00:05:00' OR timespan_end IS NULL
SELECT id FROM visit WHERE timespan_begin BETWEEN '2025-12-31 23:50:00' AND '2026-01-01 00:10:00.000000001'
SELECT v.id, c.dataset_id FROM visit v JOIN calibration c ON (c.timespan_begin IS NULL OR c.timespan_begin < v.timespan_end) AND (c.timespan_end IS NULL OR v.timespan_begin < c.timespan_end)
SELECT dataset_id FROM calibration WHERE timespan_begin = timespan_end OR timespan_begin < timespan_end
SELECT id, exposure_time FROM visit WHERE exposure_time BETWEEN 0 AND 1.1
SELECT id FROM visit WHERE NOT (exposure_time > 0.9 OR exposure_time IS NULL)
SELECT id FROM exposure WHERE can_see_sky
SELECT id FROM exposure WHERE can_see_sky IS NOT TRUE
SELECT id, can_see_sky = false FROM exposure WHERE can_see_sky IS NULL OR NOT can_see_sky
SELECT id FROM exposure WHERE seq_num IS DISTINCT FROM 3 AND seq_num IS NOT DISTINCT FROM seq_num
SELECT DISTINCT detector, run FROM raw
SELECT DISTINCT instrument FROM detector
SELECT * FROM detector
SELECT id, full_name, raft FROM detector WHERE id > 2
SELECT id, raft FROM detector WHERE raft = 'a'
ordered: SELECT DISTINCT ON (exposure) exposure, detector, dataset_id FROM raw ORDER BY exposure, detector DESC, dataset_id
SELECT dataset_id, row_number() OVER (PARTITION BY exposure ORDER BY detector, dataset_id) AS n FROM raw
SELECT dataset_id, rank() OVER (ORDER BY psf_fwhm DESC), sum(visit) OVER (PARTITION BY detector) FROM calexp
SELECT visit, lag(visit) OVER (ORDER BY visit, dataset_id) FROM ncsa.calexp
SELECT dataset_id FROM raw WHERE run LIKE 'a%'
SELECT dataset_id FROM raw WHERE run LIKE 'a\\_%' ESCAPE '\\'
SELECT dataset_id, upper(run), length(run), run || '!' FROM raw WHERE lower(run) = 'a'
SELECT dataset_id FROM raw WHERE run = 'a%b' OR run = 'it''s'
SELECT dataset_id FROM raw WHERE run < 'a' AND run >= 'B'
SELECT exposure / 2, exposure % 3, -exposure, exposure * 2 + 1, exposure / 2.0 FROM raw
SELECT a.detector, b.detector FROM raw a, raw b WHERE a.exposure = b.exposure AND a.dataset_id < b.dataset_id
SELECT a.detector FROM raw a, bias b JOIN calexp c ON b.detector = c.detector WHERE a.detector = b.detector AND a.exposure < 2
SELECT r.exposure, d.raft, b.run FROM raw r JOIN detector d USING (instrument) JOIN bias b ON b.detector = d.id WHERE r.exposure < 3
SELECT q.detector, count(*) FROM (SELECT detector FROM raw UNION ALL SELECT detector FROM calexp) q WHERE q.detector > 1 GROUP BY q.detector
SELECT v.i, r.dataset_id FROM (VALUES (1, 'a'), (2, 'b')) AS v(i, t) JOIN raw r ON r.exposure = v.i AND r.run = v.t
SELECT r.exposure, l.psf_fwhm FROM summit.raw r CROSS JOIN LATERAL (SELECT max(c.psf_fwhm) AS psf_fwhm FROM calexp c WHERE c.visit = r.exposure) l
SELECT r.exposure FROM raw r WHERE (r.exposure, r.detector) IN (SELECT visit, detector FROM calexp)
SELECT r.exposure FROM raw r WHERE r.exposure > ALL (SELECT visit FROM calexp WHERE visit < 5)
SELECT r.exposure FROM raw r WHERE r.exposure = ANY (SELECT visit FROM calexp WHERE visit < 5)
SELECT count(*) FILTER (WHERE detector > 3), string_agg(DISTINCT run, ',' ORDER BY run) FROM raw
SELECT bool_and(exposure > 0), bool_or(exposure > 6), stddev(exposure), median(exposure) FROM raw
SELECT d.dataset_id, d.origin, r.origin FROM dataset d JOIN raw r ON r.dataset_id = d.dataset_id
SELECT count(*) FROM raw r LEFT JOIN exposure e ON e.id = r.exposure LEFT JOIN calexp c ON c.visit = e.id AND c.psf_fwhm IS NULL WHERE r.detector < 5
SELECT r.exposure, x.id FROM bias b LEFT JOIN raw r ON r.detector = b.detector JOIN exposure x ON x.id = r.exposure AND r.exposure IS NOT NULL
SELECT b.run, r.exposure FROM bias b LEFT JOIN raw r ON r.detector = b.detector LEFT JOIN exposure x ON x.id = r.exposure WHERE r.exposure IS NULL OR x.seq_num > 2
SELECT p.task, i.dataset_type, count(*) FROM provenance p JOIN dataset i ON i.dataset_id = p.input_id GROUP BY p.task, i.dataset_type
SELECT c.name, d.dataset_id FROM collection c LEFT JOIN dataset d ON d.run = c.name
SELECT 1 AS one, 'x' AS x, NULL AS nothing, 1.5 AS f
SELECT EXISTS (SELECT 1 FROM raw WHERE exposure = 99), EXISTS (SELECT 1 FROM raw)
SELECT RAW.Exposure, raw.DETECTOR FROM Raw WHERE Raw.exposure = 1
SELECT summit.raw.exposure FROM summit.raw
SELECT exposure AS e FROM raw WHERE exposure = '3'
SELECT count(*) FROM raw WHERE exposure IN (SELECT exposure FROM raw GROUP BY exposure HAVING count(*) > 4)
SELECT greatest(exposure, detector), least(exposure, 3), abs(exposure - 5), round(exposure / 3.0, 2) FROM raw
WITH f1 AS (SELECT exposure FROM raw WHERE exposure > 2), f2 AS (SELECT visit FROM calexp) SELECT count(*) FROM f1 JOIN f1 AS f3 ON f1.exposure = f3.exposure JOIN f2 ON visit = f3.exposure JOIN f2 AS f4 ON f4.visit = f1.exposure
SELECT exposure AS "X", r.detector AS x_1 FROM raw r JOIN calexp f1 ON f1.visit = r.exposure
SELECT 1 AS one FROM raw WHERE exposure = 1 OR 1 = 0
SELECT r.exposure FROM raw r LEFT JOIN visit v ON v.id = r.exposure AND v.instrument = r.instrument WHERE r.exposure IN (SELECT e.id FROM exposure e WHERE e.instrument = r.instrument) AND v.id IS NULL
SELECT e.id, r.detector, c.detector FROM exposure e LEFT JOIN raw r ON r.exposure = e.id AND r.detector > 3 LEFT JOIN calexp c ON c.visit = e.id AND c.detector = r.detector
SELECT e.id, b.run, r.detector FROM exposure e JOIN bias b ON b.detector = e.id LEFT JOIN raw r ON r.exposure = e.id JOIN detector d ON d.id = b.detector AND d.instrument = e.instrument
SELECT r.exposure, e.id, v.id FROM visit v LEFT JOIN raw r ON r.exposure = v.id JOIN exposure e ON e.id = coalesce(r.exposure, 1)
SELECT x.id, x.n FROM (SELECT e.id, count(*) AS n FROM exposure e JOIN raw r ON r.exposure = e.id GROUP BY e.id) x JOIN visit v ON v.id = x.id
SELECT count(*) FROM (SELECT DISTINCT visit, detector FROM calexp) q JOIN raw r ON r.exposure = q.visit AND r.detector = q.detector
SELECT r.origin, d.origin, count(*) FROM summit.raw r LEFT JOIN summit.dataset d ON d.dataset_id = r.dataset_id GROUP BY r.origin, d.origin
SELECT d.dataset_id, a.dataset_id FROM ncsa.dataset d LEFT JOIN alice.dataset a ON a.dataset_id = d.dataset_id AND a.origin = 'ncsa'
SELECT dataset_id FROM dataset WHERE origin = 'ncsa' AND dataset_type > 'a'
SELECT t.name, t.kind FROM (SELECT name, 'c' AS kind FROM collection UNION ALL SELECT name, 't' FROM dataset_type) t WHERE t.name > 'B'
SELECT exposure, detector FROM raw ORDER BY exposure + 0, detector, dataset_id
SELECT max(n) FROM (SELECT count(*) AS n FROM raw GROUP BY exposure UNION ALL SELECT count(*) FROM calexp GROUP BY visit) q
SELECT id, CASE WHEN EXISTS (SELECT 1 FROM raw r WHERE r.exposure = v.id) THEN 'yes' ELSE 'no' END FROM visit v
SELECT a.visit FROM alice.calexp a WHERE a.psf_fwhm > (SELECT avg(n.psf_fwhm) FROM ncsa.calexp n)
SELECT a.visit FROM alice.calexp a WHERE a.psf_fwhm > (SELECT avg(n.psf_fwhm) FROM ncsa.calexp n WHERE n.visit = a.visit)
SELECT r.detector, s.n FROM raw r JOIN (SELECT detector, count(*) AS n FROM bias GROUP BY detector) s USING (detector) WHERE detector > 1
SELECT coalesce(r.run, c.run, 'none') AS run, count(*) FROM summit.raw r FULL JOIN alice.calexp c ON r.exposure = c.visit GROUP BY 1
SELECT exposure FROM raw WHERE exposure > -1 AND exposure <> 3 AND NOT exposure BETWEEN 4 AND 5
SELECT visit, detector FROM calexp c WHERE psf_fwhm = (SELECT min(psf_fwhm) FROM calexp d WHERE d.visit = c.visit)
ordered: SELECT dataset_id, exposure AS n FROM raw UNION ALL SELECT dataset_id, visit FROM calexp UNION ALL SELECT dataset_id, detector FROM bias ORDER BY n DESC, dataset_id LIMIT 6 OFFSET 3
ordered: SELECT run, dataset_id FROM raw WHERE exposure > 2 UNION ALL (SELECT run, dataset_id FROM calexp ORDER BY dataset_id LIMIT 3) ORDER BY run, dataset_id LIMIT 4
ordered: SELECT psf_fwhm FROM calexp UNION SELECT exposure_time FROM visit ORDER BY psf_fwhm DESC LIMIT 4
SELECT exposure AS x FROM raw UNION ALL SELECT psf_fwhm FROM calexp
SELECT t.x, t.y + 1 AS y FROM (SELECT 1 AS x, 2 AS y UNION ALL SELECT exposure, detector FROM raw) t
SELECT t.x FROM (SELECT 1 AS x) t
""".strip().splitlines()

#: statements that DuckDB reads in another way, with their equal in its SQL
TRANSLATED = {
    'SELECT a.exposure, "A".exposure AS other FROM raw a JOIN raw AS "A" ON a.dataset_id = "A".dataset_id': "SELECT a.exposure, b.exposure FROM raw a JOIN raw b ON a.dataset_id = b.dataset_id",
    "SELECT dataset_id FROM raw WHERE run LIKE 'a\\_%'": "SELECT dataset_id FROM raw WHERE starts_with(run, 'a_')",
    "SELECT sum(exposure) FROM raw": "SELECT CAST(sum(exposure) AS BIGINT) FROM raw",
    "SELECT 7 / 2, -7 / 2, 7 / 2.0, 1 / 0, 1.5 / 0": "SELECT 3, -3, 3.5, NULL, NULL",
    "SELECT id FROM visit WHERE timespan_overlaps(timespan_begin, timespan_end, '2026-01-01 00:05:00', NULL)": """SELECT id FROM visit WHERE (timespan_end IS NULL OR timespan_end > '2026-01-01 00:05:00')
           AND (timespan_begin IS NULL OR timespan_end IS NULL OR timespan_begin < timespan_end)""",
    "SELECT id, timespan_begin + INTERVAL '1 minute' FROM visit": "SELECT id, make_timestamp_ns(epoch_ns(timespan_begin) + 60000000000) FROM visit",
    "SELECT id, date_trunc('minute', timespan_begin) FROM visit": "SELECT id, make_timestamp_ns(epoch_ns(timespan_begin) - epoch_ns(timespan_begin) % 60000000000) FROM visit",
    "SELECT id, extract(epoch FROM timespan_end - timespan_begin) FROM visit": "SELECT id, (epoch_ns(timespan_end) - epoch_ns(timespan_begin)) / 1e9 FROM visit",
    "SELECT timespan_begin::date, extract(minute FROM timespan_begin), date_trunc('month', timespan_begin) FROM visit": """SELECT CAST(strftime(timespan_begin, '%Y-%m-%d') AS DATE), extract(minute FROM timespan_begin),
           make_timestamp_ns(epoch_ns(date_trunc('month', timespan_begin))) FROM visit""",
    "SELECT CAST(TIMESTAMP '2026-01-01 23:59:59.9999999' AS DATE)": "SELECT DATE '2026-01-01'",
    "SELECT TIMESTAMP '2026-01-01 23:59:59.9999999' AS t, date_trunc('day', TIMESTAMP '2026-01-01 23:59:59.9999999')": "SELECT make_timestamp_ns(1767311999999999900), make_timestamp_ns(1767225600000000000)",
}
