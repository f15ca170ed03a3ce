"""Facts of the LSST Camera, and the dimension records of a night with it.

189 science detectors: 21 rafts of 3 x 3 sensors, numbered raft by raft in the camera's own order; the filters are the
physical ones in use in 2025; exposure ids are day_obs * 100,000 + sequence number. Sources: the instrument's
registry records as the Rubin Data Butler publishes them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import attrs
from lsst.sphgeom import Angle, ConvexPolygon, LonLat, UnitVector3d

from federation.model.timespan import parse_tai

__all__ = ["BANDS", "INSTRUMENT", "RAFTS", "Detector", "Exposure", "detectors", "instrument_records", "night"]

INSTRUMENT = "LSSTCam"
DAY_OBS = 20251202
#: science rafts in the order of detector ids
RAFTS = (
    "R01", "R02", "R03", "R10", "R11", "R12", "R13", "R14", "R20", "R21", "R22", "R23", "R24",
    "R30", "R31", "R32", "R33", "R34", "R41", "R42", "R43",
)  # fmt: skip
#: physical filter by band
BANDS = {"u": "u_24", "g": "g_6", "r": "r_57", "i": "i_39", "z": "z_20", "y": "y_10"}
#: degrees from the boresight to the corner of the science rafts' outline
FIELD_RADIUS_DEG = 1.75
_SECOND_NS = 1_000_000_000
EXPOSURE_S = 30.0
CADENCE_S = 39.0


@attrs.frozen
class Detector:
    """One science sensor."""

    id: int
    raft: str
    sensor: str

    @property
    def full_name(self) -> str:
        return f"{self.raft}_{self.sensor}"


@attrs.frozen
class Exposure:
    """One 30 s exposure; it is also the visit of the same id."""

    seq_num: int
    band: str
    ra_deg: float
    dec_deg: float

    @property
    def id(self) -> int:
        return DAY_OBS * 100_000 + self.seq_num

    @property
    def obs_id(self) -> str:
        return f"MC_O_{DAY_OBS}_{self.seq_num:06d}"

    @property
    def begin_tai_ns(self) -> int:
        return parse_tai("2025-12-03 01:00:00") + int(self.seq_num * CADENCE_S * _SECOND_NS)

    @property
    def end_tai_ns(self) -> int:
        return self.begin_tai_ns + int(EXPOSURE_S * _SECOND_NS)

    def region(self) -> bytes:
        """Outline of the field on the sky, encoded."""
        center = UnitVector3d(LonLat.fromDegrees(self.ra_deg, self.dec_deg))
        north = UnitVector3d.northFrom(center)
        corners = []
        for number in range(8):
            edge = center.rotatedAround(
                UnitVector3d.orthogonalTo(center, north), Angle.fromDegrees(FIELD_RADIUS_DEG)
            )
            corners.append(edge.rotatedAround(center, Angle(2 * math.pi * number / 8)))
        return bytes(ConvexPolygon(corners).encode())

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Dimension records of the exposure and its visit, parents first."""
        shared = {
            "instrument": INSTRUMENT,
            "id": self.id,
            "physical_filter": BANDS[self.band],
            "day_obs": DAY_OBS,
            "seq_num": self.seq_num,
            "exposure_time": EXPOSURE_S,
            "target_name": "lowdust",
            "observation_reason": f"singles_{self.band}",
            "science_program": "BLOCK-407",
            "timespan_begin": self.begin_tai_ns,
            "timespan_end": self.end_tai_ns,
            "azimuth": (222.0 + self.seq_num) % 360.0,
            "zenith_angle": 18.1 + 0.01 * self.seq_num,
        }
        yield "group", {"instrument": INSTRUMENT, "name": self.obs_id}
        yield (
            "exposure",
            {
                **shared,
                "obs_id": self.obs_id,
                "group": self.obs_id,
                "dark_time": 30.93,
                "observation_type": "science",
                "seq_start": self.seq_num,
                "seq_end": self.seq_num,
                "tracking_ra": self.ra_deg,
                "tracking_dec": self.dec_deg,
                "sky_angle": 314.98,
                "has_simulated": True,
                "can_see_sky": True,
            },
        )
        yield "visit", {**shared, "name": self.obs_id, "region": self.region()}
        yield "visit_definition", {"instrument": INSTRUMENT, "exposure": self.id, "visit": self.id}


def detectors() -> tuple[Detector, ...]:
    """The 189 science detectors by id."""
    sensors = [f"S{row}{column}" for row in range(3) for column in range(3)]
    return tuple(
        Detector(9 * raft + number, RAFTS[raft], sensor)
        for raft in range(len(RAFTS))
        for number, sensor in enumerate(sensors)
    )


def instrument_records() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Records that exist before the night begins, parents first."""
    yield (
        "instrument",
        [
            {
                "name": INSTRUMENT,
                "visit_max": 6050123199999,
                "visit_system": 2,
                "exposure_max": 6050123199999,
                "detector_max": 1000,
                "class_name": "lsst.obs.lsst.LsstCam",
            }
        ],
    )
    yield "physical_filter", [{"instrument": INSTRUMENT, "name": n, "band": b} for b, n in BANDS.items()]
    yield (
        "detector",
        [
            {
                "instrument": INSTRUMENT,
                "id": d.id,
                "full_name": d.full_name,
                "name_in_raft": d.sensor,
                "raft": d.raft,
                "purpose": "SCIENCE",
            }
            for d in detectors()
        ],
    )
    yield (
        "day_obs",
        [
            {
                "instrument": INSTRUMENT,
                "id": DAY_OBS,
                "timespan_begin": parse_tai("2025-12-02 12:00:00"),
                "timespan_end": parse_tai("2025-12-03 12:00:00"),
            }
        ],
    )


def night(count: int, first_seq_num: int = 1) -> tuple[Exposure, ...]:
    """``count`` exposures that go round the six bands along a strip of the southern sky."""
    bands = tuple(BANDS)
    return tuple(
        Exposure(seq, bands[(seq - 1) % 6], (104.55 + 3.0 * seq) % 360.0, -42.7 + 0.5 * (seq % 5))
        for seq in range(first_seq_num, first_seq_num + count)
    )
