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
    try:
        options = parse(sys.argv[1:] if words is None else words, _version)
        code = _COMMANDS.get(options.command, _remote)(options)
        sys.stdout.flush()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else exits.FAILED
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:  # `ioncc ps | head`: nobody reads on, which is no error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.OK
    except IonError as error:
        print(f"ioncc: {exits.one_line(error)}", file=sys.stderr)
        return exits.code_of(error)
    return code


def _version() -> str:
    from ion.base.version import __version__

    return f"ioncc {__version__} (Python {sys.version.split()[0]})"


def _start(options: Options) -> int:
    from ion.shell.serve import serve

    return asyncio.run(serve(options))


def _remote(options: Options) -> int:
    from ion.shell.remote import run

    return asyncio.run(run(options))


def _check(options: Options) -> int:
    from ion.shell.check import check

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
