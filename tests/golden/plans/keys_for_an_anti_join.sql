SELECT r.dataset_id FROM summit.raw r
WHERE r.exposure BETWEEN 5 AND 8 AND r.detector = 7 AND NOT EXISTS (
  SELECT 1 FROM ncsa.calexp c WHERE c.visit = r.exposure AND c.detector = r.detector AND c.instrument = r.instrument)
