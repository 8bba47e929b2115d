"""How the simulator behaves badly, and when: spells of faults, and bytes spoiled by them. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from ion.services.simulator.model import FAULTS, ImpossibleSpell, Spell, UnknownFault

HUGE = 65_536  # bytes without an end of line, a sentence
NOISE = 40
MOST = 1000  # spells that are to come
LATEST = 1e8  # seconds, three years


class FaultPlan:
    """What is wrong, and until when; times are of the clock that the caller goes by.

    :param seed: the noise is the same each time.
    """

    def __init__(self, seed: int = 0) -> None:
        self._spells: list[tuple[str, float, float]] = []
        self._random = random.Random(seed)

    def plan(self, spells: Iterable[Spell], now: float) -> None:
        """Add times of bad behaviour.

        :raises UnknownFault: there is no such.
        :raises ImpossibleSpell: one is at no time, or they are too many.
        """
        spells = list(spells)
        for spell in spells:
            if spell.fault not in FAULTS:
                message = f"{spell.fault!r} is no fault (known: {', '.join(FAULTS)})"
                raise UnknownFault(message)
            if not (0 <= spell.after <= LATEST and spell.seconds > 0):
                message = (
                    f"{spell.fault}: after 0 to {LATEST:g} s, and for more than 0 s, not after "
                    f"{spell.after:g} s for {spell.seconds:g} s"
                )
                raise ImpossibleSpell(message)
        if len(self._spells) + len(spells) > MOST:
            message = f"at most {MOST} spells are planned at a time: have it behave first"
            raise ImpossibleSpell(message)
        for spell in spells:
            begin = now + spell.after
            self._spells.append((spell.fault, begin, begin + spell.seconds))

    def clear(self) -> None:
        """Behave well from now on."""
        self._spells.clear()

    def now(self, now: float) -> set[str]:
        """Return what is wrong just now; what is over is forgotten."""
        self._spells = [spell for spell in self._spells if spell[2] > now]
        return {fault for fault, begin, _ in self._spells if begin <= now}

    def next_change(self, now: float) -> float | None:
        """Return when something begins or ends next, or None."""
        times = [time for _, *span in self._spells for time in span if time > now]
        return min(times, default=None)

    def spoil(self, data: bytes, faults: set[str]) -> Iterator[bytes]:
        """Give what is sent in place of a sentence."""
        if "garbage" in faults:
            yield self._random.randbytes(self._random.randint(1, NOISE))
        if "huge_lines" in faults:
            yield b"A" * HUGE
            return
        if "checksums" in faults:
            star = data.rindex(b"*")
            data = (
                data[: star + 1] + b"%02X" % (int(data[star + 1 : star + 3], 16) ^ 0x55) + b"\r\n"
            )
        if "half_lines" in faults:
            data = data[: len(data) // 2]
        yield data
