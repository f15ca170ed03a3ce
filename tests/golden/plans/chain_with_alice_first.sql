-- chain: alice
SELECT dataset_id, origin, psf_fwhm FROM calexp WHERE visit = 5 AND psf_fwhm < 1
