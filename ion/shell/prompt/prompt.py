"""The front ends of the shell: ptpython where it is installed, a plain prompt elsewhere.

Both have ``read`` (one statement; EOFError when the user leaves), ``show`` (a result), ``fail``
(an error), ``interrupt`` (Ctrl-C while reading) and ``close`` (make a waiting ``read`` raise
EOFError, give the terminal back; may be called twice).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

HISTORY_BYTES = 1_000_000


class Prompt(Protocol):
    """What the shell needs of a terminal."""

    async def read(self) -> str:
        """Return the next statement.

        :raises EOFError: the user leaves, or the prompt was closed.
        :raises UnicodeDecodeError: what was typed is no text.
        """

    def show(self, value: Any) -> None:
        """Print the value of an expression."""

    def fail(self, error: BaseException) -> None:
        """Print an error that a line raised."""

    def interrupt(self) -> None:
        """Give up the line that is being typed."""

    def close(self) -> None:
        """Leave."""


def open_prompt(namespace: dict[str, Any], history: Path | None, leaving: str) -> Prompt:
    """Return the best prompt there is; says in one line where it is not the good one.

    :param namespace: what completion offers.
    :param history: file for the lines typed; None keeps them in memory.
    :param leaving: what the end of the shell does, for people.
    """
    try:
        from ion.shell.prompt.ptpython import PtpythonPrompt
    except ImportError:
        from ion.shell.prompt.plain import PlainPrompt

        print("ptpython is not installed, so this prompt is plain: pip install 'ioncore[shell]'")
        return PlainPrompt(namespace, history, leaving)
    return PtpythonPrompt(namespace, history)


def history_file() -> Path | None:
    """Return the file for the lines typed, private to the user; None where there can be none.

    A file over 1 MB is cut to its newer half.
    """
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    path = Path(base).expanduser() / "ion" / "history"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        if path.stat().st_size > HISTORY_BYTES:
            newer = path.read_bytes()[-HISTORY_BYTES // 2 :]
            path.write_bytes(newer.partition(b"\n")[2])
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        return None
    return path
