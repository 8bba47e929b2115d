"""Numbers on the command line: what argparse is given as the type of an argument."""

from __future__ import annotations

import argparse
from collections.abc import Callable

DAY = 86_400.0  # seconds
_DIGITS = 9


def whole(what: str, least: int = 1, most: int | None = None) -> Callable[[str], int]:
    """Return what takes a word for a whole number.

    :param what: is counted, for people.
    """
    meant = f"{least} or more" if most is None else f"{least} to {most}"

    def number(word: str) -> int:
        if word.isascii() and word.isdecimal() and len(word) <= _DIGITS:
            value = int(word)
            if least <= value and (most is None or value <= most):
                return value
        message = f"{word!r} is no number of {what}: give {meant}"
        raise argparse.ArgumentTypeError(message)

    return number


def seconds(word: str) -> float:
    """Return the time that a word says: over 0 and under a day."""
    value = _number(word)
    if 0 < value < DAY:  # also False for NaN
        return value
    message = f"{word!r} is no time: give seconds, over 0 and under a day"
    raise argparse.ArgumentTypeError(message)


def interval(word: str, least: float = 0.1) -> float:
    """Return the time between two looks that a word says: ``least`` seconds, and under a day."""
    value = _number(word)
    if least <= value < DAY:
        return value
    message = f"{word!r} is no interval: give seconds, {least:g} or more and under a day"
    raise argparse.ArgumentTypeError(message)


def _number(word: str) -> float:
    """Return the number that a word says; 0 where it says none."""
    try:
        return float(word)
    except ValueError:
        return 0.0
