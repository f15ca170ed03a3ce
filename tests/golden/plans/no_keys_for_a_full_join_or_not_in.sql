SELECT b.detector, r.exposure FROM base.bias b FULL JOIN summit.raw r ON r.detector = b.detector
WHERE r.exposure NOT IN (SELECT c.visit FROM ncsa.calexp c WHERE c.psf_fwhm > 2)
