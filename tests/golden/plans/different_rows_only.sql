SELECT b.detector FROM base.bias b WHERE EXISTS (SELECT 1 FROM ncsa.calexp c WHERE c.detector = b.detector AND c.psf_fwhm > 1)
UNION SELECT DISTINCT e.seq_num FROM summit.raw r JOIN ncsa.visit v ON v.id = r.exposure JOIN summit.exposure e ON e.id = v.id
