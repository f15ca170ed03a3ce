SELECT q.kind, count(*) AS n, sum(q.n) AS total, max(q.n) AS last
FROM (SELECT 'raw' AS kind, exposure AS n FROM summit.raw UNION ALL SELECT 'calexp', visit FROM ncsa.calexp) q
WHERE q.n > 10 GROUP BY q.kind
