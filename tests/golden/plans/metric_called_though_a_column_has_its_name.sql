SELECT *, metric(r, 'band') AS reddening FROM raw r WHERE metric(r, 'band') BETWEEN 0 AND 1 ORDER BY metric(r, 'band') LIMIT 5
