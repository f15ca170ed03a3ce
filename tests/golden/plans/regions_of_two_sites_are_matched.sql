SELECT v.id AS visit, e.id AS exposure, e.day_obs
FROM ncsa.visit v JOIN summit.exposure e ON region_contains(v.region, e.tracking_ra, e.tracking_dec)
WHERE e.day_obs > 20251101 AND v.id < 1000
