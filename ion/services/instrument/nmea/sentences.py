"""What sentences of NMEA 0183 say, and the samples that they add up to.

pynmeagps parses them. A receiver tells one moment in
several sentences: GGA (height, quality), RMC (date, speed) and VTG (course), in any order. A
*sample* is what they say together.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from ion.base.errors import ConfigurationError
from ion.services.instrument.model import Wrong

try:
    from pynmeagps import NMEAReader  # type: ignore[import-untyped]
except ImportError as error:
    message = "pynmeagps is not installed: pip install 'ioncore[instruments]'"
    raise ConfigurationError(message) from error

FIELDS = {
    "time": "seconds since 1970, by the receiver's clock",
    "lat": "degrees north",
    "lon": "degrees east",
    "alt": "metres above the sea",
    "speed": "metres per second over ground",
    "course": "degrees from true north",
    "quality": "0: no fix, 1: GPS, 2: differential, ...",
    "satellites": "in use",
}
KNOT = 0.514444  # metres per second
HALF_A_DAY = timedelta(hours=12)
NOTHING = math.nan
Sample = dict[str, float]


class BadSentence(ValueError):
    """It is no sentence, its checksum is wrong, or what it says cannot be."""


class Unchecked(BadSentence):
    """It has no checksum, and must have one."""


class Parser:
    """Parses sentences with pynmeagps.

    :param needs_checksum: whether a sentence without one is a bad one.
    """

    def __init__(self, *, needs_checksum: bool = True) -> None:
        self._needs_checksum = needs_checksum
        self._parse = NMEAReader.parse

    def parse(self, line: bytes) -> Any:
        """Return what a sentence says, as pynmeagps does; of unknown ones, only their words.

        :raises BadSentence: see there.
        """
        start = line.rfind(b"$")  # noise may stand before it
        words = line[start:]
        if start < 0 or not words.isascii():
            message = "no sentence"
            raise BadSentence(message)
        if b"*" not in words:
            if self._needs_checksum:
                message = "no checksum"
                raise Unchecked(message)
            words += b"*%02X" % _checksum(words[1:])
        try:
            return self._parse(words + b"\r\n")
        except Exception as error:  # noqa: BLE001 - of what a device sends, anything may come
            message = f"{type(error).__name__}: {error}"
            raise BadSentence(message) from None


class Epochs:
    """Adds sentences up to samples: one for each moment that the receiver tells of."""

    def __init__(self) -> None:
        self._moment: time | None = None
        self._sample: Sample = {}
        self._kinds: set[str] = set()
        self._is_out = False

    def add(self, said: Any, now: datetime) -> Sample | None:
        """Take what a sentence says; return the sample that is complete with it, if one is.

        :param now: for the date, where the receiver does not tell it.
        :raises BadSentence: what it says cannot be.
        """
        kind = getattr(said, "msgID", "")
        if kind == "VTG":
            self._sample.update(_numbers(said, course="cogt"))
            return None
        moment, day = getattr(said, "time", None), getattr(said, "date", None)  # it may be short
        if kind not in ("GGA", "RMC") or not isinstance(moment, time):
            return None
        values = _gga(said) if kind == "GGA" else _rmc(said)
        before = self._next(moment) if moment != self._moment else None
        day = day if kind == "RMC" and isinstance(day, date) else None
        if day is not None or "time" not in self._sample:
            self._sample["time"] = _when(moment, day, now)
        self._sample.update(values)
        self._kinds.add(kind)
        return before or self._complete()

    def end(self) -> Sample | None:
        """Return what is known of the moment that was told of last, unless that is out."""
        if self._is_out or self._moment is None:
            return None
        self._is_out = True
        return _whole(self._sample)

    def _next(self, moment: time) -> Sample | None:
        """Begin with another moment; return what is known of the last one, if it is not out."""
        last = None if self._is_out or self._moment is None else _whole(self._sample)
        course = self._sample.get("course", NOTHING) if self._moment is None else NOTHING
        self._moment, self._kinds, self._is_out = moment, set(), False
        self._sample = {"course": course}
        return last

    def _complete(self) -> Sample | None:
        if self._is_out or len(self._kinds) < len(("GGA", "RMC")):
            return None
        self._is_out = True
        return _whole(self._sample)


def _whole(sample: Sample) -> Sample | None:
    if "lat" not in sample or "lon" not in sample:
        return None  # no fix: there is nothing to tell
    return {name: sample.get(name, NOTHING) for name in FIELDS}


def _gga(said: Any) -> Sample:
    found = _numbers(said, lat="lat", lon="lon", alt="alt", quality="quality", satellites="numSV")
    return _possible(found)


def _rmc(said: Any) -> Sample:
    if getattr(said, "status", "") != "A":
        return {}  # it knows what time it is, and no more
    found = _numbers(said, lat="lat", lon="lon", speed="spd", course="cog")
    if "speed" in found:
        found["speed"] *= KNOT
    return _possible(found)


def _numbers(said: Any, **names: str) -> Sample:
    """Return those of the fields that the sentence tells, as numbers."""
    found = {name: getattr(said, field, "") for name, field in names.items()}
    return {
        name: float(value)
        for name, value in found.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def _possible(sample: Sample) -> Sample:
    if abs(sample.get("lat", 0.0)) > 90 or abs(sample.get("lon", 0.0)) > 180:  # noqa: PLR2004
        message = f"a position that is not on Earth: {sample}"
        raise BadSentence(message)
    return sample


def _when(moment: time, day: date | None, now: datetime) -> float:
    """Return seconds since 1970; without a date, of the day that brings it next to ``now``."""
    if day is not None:
        return datetime.combine(day, moment, UTC).timestamp()
    guess = datetime.combine(now.date(), moment, UTC)
    if guess - now > HALF_A_DAY:
        guess -= timedelta(days=1)
    elif now - guess > HALF_A_DAY:
        guess += timedelta(days=1)
    return guess.timestamp()


def sentence(*words: str) -> bytes:
    """Return a sentence of these words, with checksum and end; empty ones at its end left out.

    :raises Wrong: a word has characters that stand for something else, or none of ASCII.
    """
    body = ",".join(words).rstrip(",")
    if not body.isascii() or not body.isprintable() or set(body) & {"$", "*", "!"}:
        message = f"what a sentence cannot hold: {body!r}"
        raise Wrong(message)
    data = body.encode("ascii")
    return b"$%b*%02X\r\n" % (data, _checksum(data))


def _checksum(data: bytes) -> int:
    check = 0
    for byte in data:
        check ^= byte
    return check
