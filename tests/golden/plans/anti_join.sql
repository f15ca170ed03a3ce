SELECT r.dataset_id FROM summit.raw r
WHERE NOT EXISTS (SELECT 1 FROM ncsa.calexp c WHERE c.visit = r.exposure AND c.detector = r.detector AND c.run = 'w')
