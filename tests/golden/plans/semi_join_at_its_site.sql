SELECT v.id, r.detector FROM ncsa.visit v JOIN summit.raw r ON r.exposure = v.id
WHERE EXISTS (SELECT 1 FROM summit.exposure e WHERE e.id = r.exposure AND e.seq_num = 3)
  AND v.id NOT IN (SELECT c.visit FROM ncsa.calexp c WHERE c.psf_fwhm > 1)
