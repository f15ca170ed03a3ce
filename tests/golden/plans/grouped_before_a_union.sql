SELECT q.kind, count(*) AS n, avg(q.n) AS mean, max(q.n) AS last
FROM (SELECT 'raw' AS kind, exposure AS n FROM summit.raw UNION ALL SELECT 'calexp', visit FROM ncsa.calexp) q
WHERE q.n > 10 GROUP BY q.kind
