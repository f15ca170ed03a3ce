SELECT q.run, q.n FROM (
  SELECT run, exposure AS n, 'raw' AS kind FROM summit.raw UNION ALL SELECT run, visit, 'calexp' FROM ncsa.calexp
) q WHERE q.kind = 'raw' AND q.n BETWEEN 3 AND 5
