SELECT q.exposure, q.n, c.visit FROM (SELECT exposure, count(*) AS n FROM summit.raw GROUP BY exposure) q
LEFT JOIN ncsa.calexp c ON c.visit = q.exposure AND c.detector = 1
WHERE q.exposure IN (3, 4) AND q.n > 2 AND c.run = 'a'
