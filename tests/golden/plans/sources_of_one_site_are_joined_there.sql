SELECT e.obs_id, v.name
FROM raw JOIN exposure e ON e.id = raw.exposure AND e.instrument = raw.instrument JOIN visit v ON v.id = e.id
WHERE raw.detector = 94
