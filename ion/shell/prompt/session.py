"""One line after the other: run what was typed, and know what came of it.

The front ends (:mod:`ion.shell.prompt.repl`) show an outcome as their terminal can; a transcript
keeps its plain text, which is the same everywhere.
"""

from __future__ import annotations

import contextlib
import io
import sys
import traceback
from dataclasses import dataclass
from typing import Any, TextIO

from ion.base.errors import IonError
from ion.shell.advice import AT_THE_PROMPT, FROM_OUTSIDE, advise
from ion.shell.exits import one_line
from ion.shell.helpers.helpers import shown_as
from ion.shell.prompt.evaluation import Evaluator, Interrupted
from ion.shell.render import Table, printable


class Leave:
    """What ``exit`` and ``quit`` are: called or not, they end the shell.

    :param meaning: what the end of the shell does, for people.
    """

    def __init__(self, meaning: str) -> None:
        self._meaning = meaning

    def __call__(self) -> None:
        """End the shell."""
        raise SystemExit

    def __repr__(self) -> str:
        return f"exit() or Ctrl-D {self._meaning}"


@dataclass(frozen=True)
class Outcome:
    """What came of one statement.

    :ivar value: of its last expression, or None.
    :ivar error: what it raised, or None.
    :ivar leaving: whether it was to end the shell.
    :ivar printed: what it printed, where that was to be kept.
    """

    value: Any = None
    error: Exception | None = None
    leaving: bool = False
    printed: str = ""

    @property
    def complaint(self) -> str | None:
        """The one line that tells an error which needs no traceback; None for others."""
        if isinstance(self.error, Interrupted):
            return "interrupted"
        if isinstance(self.error, IonError):  # says itself what was wrong
            return printable(f"{self.error.type} ({self.error.code}): {one_line(self.error)}")
        return None

    def text(self) -> str:
        """Return what it printed and what was to be shown, as plain text."""
        return self.printed + self._shown()

    def _shown(self) -> str:
        if self.error is not None:
            return f"{self.complaint or _short_traceback(self.error)}\n"
        if isinstance(self.value, Table):
            return f"{self.value.text()}\n"
        return "" if self.value is None else f"{_repr(self.value)}\n"


class Session:
    """Runs statements in one namespace.

    :param namespace: the globals of what is typed; with the ``container``, where it runs in one.
    """

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.evaluator = Evaluator(namespace)
        self._start = AT_THE_PROMPT if "container" in namespace else FROM_OUTSIDE

    async def run(self, text: str, *, keep: bool = False, echo: bool = True) -> Outcome:
        """Run one statement; what it raises is in the outcome.

        :param keep: whether the outcome is to hold what it prints.
        :param echo: whether that is printed, too, where it is kept.
        """
        if not keep:
            return await self._run(text)
        kept = _Tee(sys.stdout if echo else None)
        with contextlib.redirect_stdout(kept):
            outcome = await self._run(text)
        return Outcome(outcome.value, outcome.error, outcome.leaving, kept.getvalue())

    async def _run(self, text: str) -> Outcome:
        try:
            value = await self.evaluator.run(text)
        except SystemExit:
            return Outcome(leaving=True)
        except IonError as error:
            return Outcome(error=advise(error, self._start))
        except Exception as error:  # noqa: BLE001 - a user's line ends here
            return Outcome(error=error)
        if isinstance(value, Leave):
            return Outcome(leaving=True)
        return Outcome(shown_as(value))


class _Tee(io.StringIO):
    """Keeps what is written, and passes it on."""

    def __init__(self, to: TextIO | None) -> None:
        super().__init__()
        self._to = to

    def write(self, text: str) -> int:
        if self._to is not None:
            self._to.write(text)
        return super().write(text)

    def flush(self) -> None:
        if self._to is not None:
            self._to.flush()

    def isatty(self) -> bool:
        return self._to is not None and self._to.isatty()


def _short_traceback(error: Exception) -> str:
    last = "".join(traceback.format_exception_only(error)).rstrip("\n")
    return f"Traceback (most recent call last):\n    ...\n{last}"


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - a value of the user's, whose repr may do anything
        return f"<{type(value).__name__}: its repr raises {type(error).__name__}>"
