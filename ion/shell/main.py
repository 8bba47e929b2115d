"""The entry of ``ioncc``: read the command line, do it, turn what happened into an exit code.

Everything heavy (the container, the prompt, tables) is imported by the command that needs it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence

from ion.base.errors import IonError
from ion.shell import exits
from ion.shell.options import START, Options, parse


def main(words: Sequence[str] | None = None) -> int:
    """Run ``ioncc`` with ``words`` (``sys.argv`` by default) and return its exit code."""
    _open_missing_streams()
    try:
        options = parse(sys.argv[1:] if words is None else words, _version)
        code = _COMMANDS.get(options.command, _remote)(options)
        sys.stdout.flush()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else exits.FAILED
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:  # `ioncc ps | head`: nobody reads on, which is no error of ours
        _close_stdout()
        return exits.OK
    except IonError as error:
        print(f"ioncc: {exits.one_line(error)}", file=sys.stderr)
        return exits.code_of(error)
    except OSError as error:  # what was to be printed cannot be written: a full disk
        _close_stdout()
        print(f"ioncc: {exits.one_line(error)}", file=sys.stderr)
        return exits.FAILED
    return code


def _open_missing_streams() -> None:
    """Put nothing in place of a standard stream that was closed (``ioncc <&-``)."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - stays; light


def _close_stdout() -> None:
    """Let what is still to be written go nowhere, or the end of Python would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _version() -> str:
    from ion.base.version import __version__

    return f"ioncc {__version__} (Python {sys.version.split()[0]})"


def _see_working_directory() -> None:
    """Let app files name modules that lie in the working directory, as `python -m` would."""
    directory = os.getcwd()  # noqa: PTH109 - an entry of sys.path is text
    if directory not in sys.path:
        sys.path.insert(0, directory)


def _start(options: Options) -> int:
    from ion.shell.serve import serve

    _see_working_directory()
    return asyncio.run(serve(options))


def _remote(options: Options) -> int:
    from ion.shell.remote import run

    return asyncio.run(run(options))


def _check(options: Options) -> int:
    from ion.shell.check import check

    _see_working_directory()
    return check(options)


def _config(options: Options) -> int:
    from ion.shell.config import config

    return config(options)


_COMMANDS: dict[str, Callable[[Options], int]] = {
    START: _start,
    "check": _check,
    "config": _config,
}

if __name__ == "__main__":
    sys.exit(main())
