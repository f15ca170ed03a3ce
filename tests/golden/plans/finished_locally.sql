SELECT sum(exposure) / count(*) AS mean, max(run) FROM raw WHERE run LIKE 'LSSTCam/%' AND exposure BETWEEN 5 AND '9'
