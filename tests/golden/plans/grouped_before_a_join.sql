SELECT e.physical_filter, count(*) AS n, avg(c.psf_fwhm) AS fwhm, sum(e.exposure_time) AS time
FROM ncsa.calexp c JOIN summit.exposure e ON e.id = c.visit AND e.instrument = c.instrument
WHERE c.psf_fwhm < 2 GROUP BY e.physical_filter
