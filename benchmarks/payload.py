"""The content that every rpc carries: a record of an instrument, 1,024 bytes in msgpack."""

from __future__ import annotations

from typing import Any

RPC_BYTES = 1024


def record() -> dict[str, Any]:
    """Return the record; text, integers, floats and lists, so that JSON peers can carry it."""
    return {
        "instrument": "ctd-0042",
        "platform": "glider/north-atlantic/7",
        "sequence": 123_456_789,
        "time": 1_790_000_000.25,
        "position": {"lat": 47.6205, "lon": -122.3493, "depth": 812.5},
        "temperature": [4.0 + 0.0625 * i for i in range(32)],
        "salinity": [34.0 + 0.03125 * i for i in range(32)],
        "flags": [0, 1, 2, 3, 4, 5, 6, 7] * 4,
        "quality": {"good": True, "suspect": False, "method": "range+spike+gradient"},
        "comment": "x" * 185,
    }
