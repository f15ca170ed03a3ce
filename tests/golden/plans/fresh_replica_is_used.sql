-- home: base; max-staleness: 5
SELECT r.exposure, b.dataset_id FROM raw r JOIN bias b ON b.detector = r.detector AND b.instrument = r.instrument
