"""A transform for journeys, in an `ioncc` that is killed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ion.process.granules import Granule, StreamDefinition, Transform


class Doubling(Transform, name="doubling"):
    """Publishes twice of what it hears."""

    source, target = "raw", "double"
    definition = StreamDefinition("double", {"x": "f8"})

    async def transform(self, granule: Granule) -> Mapping[str, Any] | None:
        """Return twice of it."""
        return {"x": 2 * granule["x"]}
