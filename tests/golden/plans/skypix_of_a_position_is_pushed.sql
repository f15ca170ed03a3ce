SELECT a.id, b.id AS other
FROM visit a
LEFT JOIN visit b ON region_overlaps(a.region, b.region) AND b.id <> a.id
WHERE region_overlaps_pixel('htm7', skypix_id('htm7', 150.1, 2.2), a.region) AND a.day_obs = skypix_id('healpix3', 0, 0)
