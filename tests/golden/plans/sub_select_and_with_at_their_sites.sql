WITH busy AS (SELECT exposure, count(*) AS n FROM summit.raw GROUP BY exposure HAVING count(*) > 180)
SELECT v.name, b.n FROM busy b JOIN ncsa.visit v ON v.id = b.exposure
WHERE v.id IN (SELECT visit FROM ncsa.calexp WHERE psf_fwhm < 0.7)
