SELECT r.dataset_id, r.exposure, c.psf_fwhm
FROM raw r JOIN ncsa.calexp c ON c.visit = r.exposure AND c.detector = r.detector AND c.instrument = r.instrument
WHERE r.instrument = 'LSSTCam' AND r.run = 'LSSTCam/raw/all' AND c.psf_fwhm < 0.8
