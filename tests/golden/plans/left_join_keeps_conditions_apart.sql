SELECT r.exposure, c.dataset_id
FROM summit.raw r LEFT JOIN ncsa.calexp c ON c.visit = r.exposure AND c.psf_fwhm < 1 AND r.detector > 10
WHERE r.exposure > 100 AND (c.run IS NULL OR c.run = 'x')
