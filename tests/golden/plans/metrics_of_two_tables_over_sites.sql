SELECT c.visit, c.source_count, r.Seeing FROM raw r
JOIN calexp c ON c.visit = r.exposure AND c.detector = r.detector AND c.source_count > 10
WHERE r.band = 'r'
