"""Where the simulated receiver is, and the sentences that say so. Pure.

A ship sails around a buoy: position, speed and course are functions of the time, and agree with
each other. The sentences are made here, and not with the parser's library: one checks the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

EARTH = 6_371_000.0  # metres
KNOT = 0.514444  # metres per second


@dataclass(frozen=True)
class Track:
    """A circle.

    :ivar lat: of its middle, degrees north.
    :ivar lon: of its middle, degrees east.
    :ivar radius: metres.
    :ivar speed: metres per second.
    """

    lat: float = 44.64
    lon: float = -124.06
    radius: float = 500.0
    speed: float = 2.5

    def at(self, time: float) -> Fix:
        """Return where the ship is, seconds since 1970."""
        angle = (time * self.speed / self.radius) % (2 * math.pi)  # clockwise, from north on
        north, east = self.radius * math.cos(angle), self.radius * math.sin(angle)
        lat = self.lat + math.degrees(north / EARTH)
        lon = self.lon + math.degrees(east / (EARTH * math.cos(math.radians(self.lat))))
        course = math.degrees(angle + math.pi / 2) % 360
        swell = 0.8 * math.sin(2 * math.pi * time / 9.0)
        return Fix(time, lat, lon, 12.0 + swell, self.speed, course)


@dataclass(frozen=True)
class Fix:
    """Where and when: degrees, metres above the sea, metres per second, degrees from north."""

    time: float
    lat: float
    lon: float
    alt: float
    speed: float
    course: float

    def gga(self) -> bytes:
        """Return position, quality and height."""
        where = f"{_angle(self.lat, 2, 'NS')},{_angle(self.lon, 3, 'EW')}"
        return sentence(f"GPGGA,{self._clock()},{where},1,09,0.9,{self.alt:.1f},M,-21.0,M,,")

    def rmc(self) -> bytes:
        """Return position, speed and date."""
        where = f"{_angle(self.lat, 2, 'NS')},{_angle(self.lon, 3, 'EW')}"
        day = datetime.fromtimestamp(self.time, UTC).strftime("%d%m%y")
        knots = self.speed / KNOT
        return sentence(f"GPRMC,{self._clock()},A,{where},{knots:.2f},{self.course:.1f},{day},,,A")

    def vtg(self) -> bytes:
        """Return course and speed."""
        knots, kmh = self.speed / KNOT, self.speed * 3.6
        return sentence(f"GPVTG,{self.course:.1f},T,,M,{knots:.2f},N,{kmh:.2f},K,A")

    def _clock(self) -> str:
        moment = datetime.fromtimestamp(round(self.time, 2), UTC)
        return f"{moment:%H%M%S}.{moment.microsecond // 10_000:02d}"


def sentence(body: str) -> bytes:
    """Return a sentence with its checksum and its end."""
    return f"${body}*{checksum(body.encode('ascii', 'replace')):02X}\r\n".encode("ascii", "replace")


def checksum(body: bytes) -> int:
    """Return what stands behind the star: all bytes between ``$`` and ``*``, XORed."""
    total = 0
    for byte in body:
        total ^= byte
    return total


def _angle(degrees: float, width: int, signs: str) -> str:
    minutes = round(abs(degrees) * 60, 5)
    whole, rest = divmod(minutes, 60)
    return f"{int(whole):0{width}d}{rest:08.5f},{signs[degrees < 0]}"
