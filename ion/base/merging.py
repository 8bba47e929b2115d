"""Lay one map of settings over another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merge(into: dict[str, Any], over: Mapping[str, Any]) -> None:
    """Lay ``over`` on ``into``: maps are merged key by key, all else replaces what was there."""
    for key, value in over.items():
        below = into.get(key)
        if not isinstance(value, Mapping):
            into[key] = value
            continue
        into[key] = merged = dict(below) if isinstance(below, Mapping) else {}
        merge(merged, value)
