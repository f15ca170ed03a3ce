SELECT r.dataset_id, v.name, p.dataset_id AS calexp
FROM visit v
JOIN calexp p ON p.visit = v.id AND p.instrument = v.instrument
JOIN exposure e ON region_contains(v.region, e.tracking_ra, e.tracking_dec)
JOIN raw r ON r.exposure = e.id AND r.instrument = e.instrument
WHERE region_overlaps(v.region, circle(150.1, 2.2, 1.5)) AND v.instrument = 'LSSTCam'
