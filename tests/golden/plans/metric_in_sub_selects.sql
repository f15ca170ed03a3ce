SELECT v.id, (SELECT avg(c.source_count) FROM ncsa.calexp c WHERE c.visit = v.id)
FROM visit v
WHERE EXISTS (SELECT 1 FROM summit.raw WHERE grade <> 'bad' AND exposure = v.id)
