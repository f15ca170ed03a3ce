SELECT r.dataset_id, r.exposure, r.detector, c.psf_fwhm FROM summit.raw r
JOIN ncsa.calexp c ON c.visit = r.exposure AND c.detector = r.detector AND c.instrument = r.instrument
WHERE r.run = 'LSSTCam/raw/00500' AND r.exposure BETWEEN 100 AND 200
