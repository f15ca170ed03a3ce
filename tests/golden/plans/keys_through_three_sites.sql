SELECT b.run, r.dataset_id, c.dataset_id AS calexp FROM base.bias b
JOIN summit.raw r ON r.detector = b.detector AND r.instrument = b.instrument
JOIN ncsa.calexp c ON c.visit = r.exposure
WHERE b.run = 'LSSTCam/calib/7' AND b.detector IN (1, 2)
