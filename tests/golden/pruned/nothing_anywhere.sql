SELECT count(*) AS n FROM raw WHERE instrument = 'Nam'
