"""What a Bloom filter of keys saves, sent instead of the keys.

It takes an eighth of the bytes of numbers, and a sixteenth of those of UUIDs. But the site's database looks up no keys
then: all rows are read there, and those without a key are left out before they are sent.
"""

from __future__ import annotations

import math

from federation.model.key_filter import FALSE_POSITIVES, FILTER_BYTES_MAX, filter_byte_count

__all__ = ["filter_count_max", "filter_gain", "passing_keys", "plain_count_max"]

#: what reading a row costs that the site then leaves out: bytes that a line of 100 Mbit/s moves in that time, which is
#: 0.2 microseconds with PostgreSQL and 0.5 with SQLite
READ_BYTES = 5.0
#: a smaller gain than this is not worth a filter
GAIN_MIN_BYTES = 16 << 10
#: with less between them, keys are sent rather than a filter: what groups or joins rows may then leave more out
PREFERRED_BYTES = 128 << 10
#: with a larger share of a table's keys than this, what is known of them tells too little
_KEYS_SHARE = 0.75
_BYTES_A_KEY = filter_byte_count(1 << 20) / (1 << 20)


def filter_gain(rows: float, row_width: float, key_count: float) -> float:
    """Bytes that a filter of so many keys saves where ``rows`` have none of them; negative where it costs more."""
    return rows * _worth(row_width) - filter_byte_count(key_count)


def filter_count_max(rows: float, row_width: float, distinct: float) -> int:
    """With more keys than this a filter of them is worth less than `GAIN_MIN_BYTES`; 0 where it always is.

    ``rows`` are asked for, which have ``distinct`` keys.
    """
    # as above for the (1 - n / distinct) * rows without a key, in bytes, without the smallest size of a filter
    whole = rows * _worth(row_width)
    by_bytes = (whole - GAIN_MIN_BYTES) / (whole / max(distinct, 1.0) + _BYTES_A_KEY)
    return max(0, int(min(by_bytes, distinct * _KEYS_SHARE, FILTER_BYTES_MAX / _BYTES_A_KEY)))


def plain_count_max(rows: float, row_width: float, distinct: float, width: float) -> int:
    """With more keys than this, of ``width`` bytes each, a filter of them saves `PREFERRED_BYTES` more than they do."""
    # (1 - n / distinct) * rows * dearer + preferred = n * (width - bytes of a filter)
    dearer = rows * (row_width - _worth(row_width))
    a_key = dearer / max(distinct, 1.0) + max(width - _BYTES_A_KEY, 0.0)
    return math.ceil((dearer + PREFERRED_BYTES) / a_key)


def passing_keys(key_count: float, distinct: float) -> float:
    """Of ``distinct`` keys so many pass a filter of ``key_count`` of them."""
    return key_count + FALSE_POSITIVES * max(distinct - key_count, 0.0)


def _worth(row_width: float) -> float:
    """Bytes that a filter saves of a row without a key."""
    return max((1 - FALSE_POSITIVES) * (row_width - READ_BYTES), 0.0)
