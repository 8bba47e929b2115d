"""Patterns: regular expressions that match whole names, in time linear in the name.

They are RE2's (google-re2): no lookaround and no references back, and so nothing that could run for
ever. What is plain enough for that is matched by Python's own engine, which costs less a name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ion.base.errors import ConfigurationError, InvalidRequest

MAX_PATTERN = 1024  # characters
_MAX_MEMORY = 1 << 20  # bytes of one compiled pattern, its automaton included
_ALL = frozenset({".*", "^.*$", ".*$", "^.*", "(.*)"})
_LITERAL = re.compile(r"[\w /:,;=@%~#&!'\"<>-]+|\\\.")
# no groups, no alternation, one unbounded repetition: no more steps than the name has characters
_PLAIN = re.compile(r"(?:[\w /:.-]|\\[dw./-]|\[\^?[\w ./-]+\])*[*+]?(?:[\w /:.-]|\\[dw./-])*")
_UNESCAPED = re.compile(r"\\(.)")


class Pattern:
    """A compiled pattern.

    :ivar literal: the only name that it matches, where it is no more than a name.
    :ivar matches: tells whether it matches a name.
    """

    __slots__ = ("is_all", "literal", "matches", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.is_all = text in _ALL
        self.literal = _literal(text)
        self.matches: Callable[[str], bool] = self._matcher()

    def _matcher(self) -> Callable[[str], bool]:
        if self.is_all:
            return lambda _: True
        if self.literal is not None:
            return self.literal.__eq__
        engine = _re2(self.text)  # says what is wrong with it, too
        if self.text.isascii() and _PLAIN.fullmatch(self.text):
            plain = re.compile(self.text, re.ASCII).fullmatch
            return lambda name: plain(name) is not None
        return lambda name: engine(name.encode()) is not None


@lru_cache(256)
def compiled(text: str) -> Pattern:
    """Return a pattern, compiled.

    :raises InvalidRequest: it is none, or longer than :data:`MAX_PATTERN`.
    :raises ConfigurationError: google-re2 is not installed.
    """
    if len(text) > MAX_PATTERN:
        message = f"a pattern has at most {MAX_PATTERN} characters, this one {len(text)}"
        raise InvalidRequest(message, details={"limit": MAX_PATTERN})
    return Pattern(text)


def _literal(text: str) -> str | None:
    """Return the name that a pattern is, where it has no sign of a pattern in it."""
    if not text:
        return ""
    position = 0
    while found := _LITERAL.match(text, position):
        position = found.end()
    return _UNESCAPED.sub(r"\1", text) if position == len(text) else None


def _re2(text: str) -> Callable[[bytes], Any]:
    try:
        import re2
    except ImportError:
        message = "patterns need google-re2: pip install 'ioncore[patterns]'"
        raise ConfigurationError(message) from None
    options = re2.Options()
    options.max_mem = _MAX_MEMORY
    options.log_errors = False
    try:
        return re2.compile(text, options).fullmatch  # type: ignore[no-any-return]
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0].decode("utf-8", "replace") if _is_bytes(error) else str(error)
        message = (
            f"pattern {text[:100]!r} cannot be used: {reason}; patterns have RE2's syntax, "
            "without lookaround and references back"
        )
        raise InvalidRequest(message, details={"pattern": text[:100]}) from None


def _is_bytes(error: Exception) -> bool:
    return bool(error.args) and isinstance(error.args[0], bytes)
