-- home: summit
SELECT dataset_id, exposure, detector FROM (
    SELECT dataset_id, exposure, detector,
        row_number() OVER (PARTITION BY instrument, exposure, detector
            ORDER BY CASE run WHEN 'new' THEN 1 WHEN 'old' THEN 2 ELSE NULL END) AS place
    FROM summit.raw WHERE run IN ('old', 'new') AND exposure > 7) AS ranked
WHERE place = 1
LIMIT 10
