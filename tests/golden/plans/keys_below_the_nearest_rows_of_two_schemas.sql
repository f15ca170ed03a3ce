-- chain: alice
SELECT b.run, c.dataset_id, c.psf_fwhm FROM base.bias b
JOIN calexp c ON c.detector = b.detector AND c.instrument = b.instrument WHERE b.run = 'LSSTCam/calib/7'
