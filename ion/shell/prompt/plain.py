"""The prompt without ptpython: readline, where Python has it, and plain text."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from ion.shell.prompt.evaluation import Lines

FIRST, MORE = ">>> ", "... "
HISTORY_LINES = 2500


class LineReader:
    """Reads lines of standard input in a thread of its own, so that the loop goes on meanwhile."""

    def __init__(self) -> None:
        self._closed = asyncio.Event()

    @property
    def closed(self) -> bool:
        """Whether no more is to be read."""
        return self._closed.is_set()

    def close(self) -> None:
        """End a waiting :meth:`line`; may be called twice."""
        self._closed.set()

    async def line(self, prompt: str = "") -> str:
        """Read one line; the thread is a daemon, for nothing can end a thread that reads.

        :raises EOFError: there is none any more, or the reader was closed.
        :raises UnicodeDecodeError: it is no text.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        threading.Thread(target=_read_line, args=(prompt, loop, future), daemon=True).start()
        closed = asyncio.create_task(self._closed.wait())
        try:
            waiting: set[asyncio.Future[Any]] = {future, closed}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closed.cancel()
        if not future.done():
            raise EOFError
        return future.result()


class PlainPrompt:
    """Asks for statements line by line.

    :param namespace: what Tab completes from.
    :param history: file for the lines typed, or None.
    :param leaving: what the end of the shell does, for people.
    """

    def __init__(self, namespace: dict[str, Any], history: Path | None, leaving: str) -> None:
        self._lines = Lines()
        self._history = history
        self._leaving = leaving
        self._reader = LineReader()
        self._interrupted = False
        self._given_up = ""  # readline keeps what was typed before Ctrl-C at the head of the line
        self._terminal = _terminal_state()
        _use_readline(namespace, history)

    async def read(self) -> str:
        """Return the next statement."""
        while True:
            line = await self._line(MORE if self._lines else FIRST)
            whole = self._lines.add(line)
            if whole is not None and whole.strip():
                return whole

    def show(self, value: Any) -> None:
        """Print a value as Python shows it."""
        print(repr(value))

    def fail(self, error: BaseException) -> None:
        """Print a traceback that begins at the user's line."""
        print("".join(format_error(error)), end="", file=sys.stderr)

    def interrupt(self) -> None:
        """Say how to leave; a second Ctrl-C at the same prompt leaves."""
        if self._interrupted:
            self.close()
            return
        self._interrupted = True
        self._lines.clear()
        self._given_up = _typed_so_far()
        print(f"\nexit() or Ctrl-D {self._leaving}; so does another Ctrl-C")
        print(FIRST, end="", flush=True)

    def close(self) -> None:
        """End a waiting ``read`` and put the terminal back as it was."""
        if not self._reader.closed:
            self._reader.close()
            _save_history(self._history)
            _restore_terminal(self._terminal)

    async def _line(self, prompt: str) -> str:
        typed = await self._reader.line(prompt)
        line = typed.removeprefix(self._given_up)
        self._interrupted, self._given_up = False, ""
        return line


def format_error(error: BaseException) -> list[str]:
    """Return the traceback's lines without the frames of the shell itself."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != "<shell>":
        trace = trace.tb_next
    return traceback.format_exception(type(error), error, trace)


def _read_line(prompt: str, loop: asyncio.AbstractEventLoop, future: asyncio.Future[str]) -> None:
    outcome: str | BaseException
    try:
        outcome = input(prompt)
    except UnicodeDecodeError as error:
        outcome = error
    except (EOFError, KeyboardInterrupt, OSError, ValueError):
        outcome = EOFError()  # closed by the user, or under our feet

    def settle() -> None:
        if future.done():
            return
        if isinstance(outcome, str):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)

    with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits
        loop.call_soon_threadsafe(settle)


def _use_readline(namespace: dict[str, Any], history: Path | None) -> None:
    try:
        import readline
        import rlcompleter
    except ImportError:
        return
    readline.set_completer(rlcompleter.Completer(namespace).complete)
    readline.parse_and_bind("tab: complete")
    readline.set_history_length(HISTORY_LINES)
    if history is not None:
        with contextlib.suppress(OSError):
            readline.read_history_file(history)


def _typed_so_far() -> str:
    try:
        import readline
    except ImportError:
        return ""
    return readline.get_line_buffer()


def _save_history(history: Path | None) -> None:
    if history is None:
        return
    with contextlib.suppress(ImportError, OSError):
        import readline

        readline.write_history_file(history)


def _terminal_state() -> list[Any] | None:
    try:
        import termios

        return termios.tcgetattr(sys.stdin.fileno())
    except (ImportError, OSError, ValueError, termios.error):
        return None


def _restore_terminal(state: list[Any] | None) -> None:
    if state is None:
        return
    import termios

    with contextlib.suppress(OSError, ValueError, termios.error):
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, state)
