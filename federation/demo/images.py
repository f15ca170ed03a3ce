"""Small but real FITS files of the camera: raws, calibrations, and what processing makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
from astropy.io import fits
from astropy.time import Time

from federation.demo.lsstcam import BANDS, DAY_OBS, INSTRUMENT, Detector, Exposure
from federation.model.timespan import format_tai

__all__ = ["Measured", "process", "write_bias", "write_raw"]

#: pixels a side; a real sensor has 4072 x 4000
SIZE = 32
BIAS_LEVEL_ADU = 1000
STAR_COUNT = 3


@attrs.frozen
class Measured:
    """What processing found in one image: width of its stars and how many there are."""

    psf_fwhm_arcsec: float
    source_count: int


def _header(detector: Detector, **cards: Any) -> fits.Header:
    header = fits.Header()
    header["ORIGIN"] = "federation demo"
    header["TELESCOP"] = ("Simonyi Survey Telescope", "telescope")
    header["INSTRUME"] = (INSTRUMENT, "instrument")
    header["RAFTBAY"] = (detector.raft, "raft")
    header["CCDSLOT"] = (detector.sensor, "sensor in its raft")
    header["DAYOBS"] = (str(DAY_OBS), "night")
    for name, value in cards.items():
        header[name.replace("_", "-")] = value
    return header


def write_raw(path: Path, exposure: Exposure, detector: Detector) -> None:
    """A simulated raw: bias level, sky and a few stars whose width depends on band and position."""
    random = np.random.default_rng([exposure.id, detector.id])
    sky = 20.0 + 15.0 * list(BANDS).index(exposure.band)
    y, x = np.mgrid[:SIZE, :SIZE]
    sigma = 1.2 + 0.15 * random.random() + 0.05 * list(BANDS).index(exposure.band)
    image = BIAS_LEVEL_ADU + random.normal(sky, np.sqrt(sky), (SIZE, SIZE))
    for cx, cy in random.uniform(6, SIZE - 6, (STAR_COUNT, 2)):
        image += 2000.0 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
    begin = Time(format_tai(exposure.begin_tai_ns), scale="tai", format="iso")
    header = _header(
        detector,
        OBSID=exposure.obs_id,
        SEQNUM=exposure.seq_num,
        IMGTYPE="OBJECT",
        FILTER=BANDS[exposure.band],
        EXPTIME=30.0,
        DARKTIME=30.93,
        TIMESYS="TAI",
        DATE_OBS=begin.isot,
        MJD_OBS=float(begin.mjd),
        RA=exposure.ra_deg,
        DEC=exposure.dec_deg,
        RADESYS="ICRS",
    )
    fits.PrimaryHDU(np.rint(image).astype(np.int32), header).writeto(path)


def write_bias(path: Path, detector: Detector) -> None:
    """A master bias: the level with the noise of many frames averaged."""
    random = np.random.default_rng([detector.id])
    image = random.normal(BIAS_LEVEL_ADU, 0.5, (SIZE, SIZE)).astype(np.float32)
    fits.PrimaryHDU(image, _header(detector, IMGTYPE="BIAS", OBSTYPE="bias")).writeto(path)


def process(raw: Path, bias: Path, target: Path) -> Measured:
    """Subtract bias and sky, measure the brightest star's second moment, write the calibrated image."""
    with fits.open(raw) as raw_file, fits.open(bias) as bias_file:
        header = raw_file[0].header.copy()
        image = raw_file[0].data.astype(np.float32) - bias_file[0].data
    image -= np.median(image)
    peak = np.unravel_index(np.argmax(image), image.shape)
    y, x = np.mgrid[:SIZE, :SIZE]
    near = (np.hypot(x - peak[1], y - peak[0]) < 5) & (image > 50)
    weight = np.where(near, image, 0.0)
    total = weight.sum()
    cx, cy = (weight * x).sum() / total, (weight * y).sum() / total
    variance = (weight * ((x - cx) ** 2 + (y - cy) ** 2)).sum() / (2 * total)
    fwhm = 2.3548 * float(np.sqrt(variance)) * 0.2  # 0.2 arcsec a pixel
    bright = image > 0.5 * image[peak]
    header["PSFFWHM"] = (round(fwhm, 4), "[arcsec] width of the brightest star")
    fits.PrimaryHDU(image, header).writeto(target)
    return Measured(round(fwhm, 4), int(bright.sum() // 4) + 1)
