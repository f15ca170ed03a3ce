SELECT r.exposure, count(*) AS n FROM summit.raw r GROUP BY r.exposure ORDER BY n DESC, r.exposure LIMIT 3
