"""The entry of ``ioncc``: read the command line, do it, turn what happened into an exit code.

Everything heavy (the container, the prompt, tables) is imported by the command that needs it. While
that goes on there is nothing to stop in good order: Ctrl-C just ends it.
"""

from __future__ import annotations

import atexit
import codecs
import os
import signal
import sys
import threading
from collections.abc import Coroutine, Sequence

TYPE_CHECKING = False  # as typing's, which takes long to load
if TYPE_CHECKING:
    from typing import Any

    from ion.shell.commandline.options import Options

_ESCAPE = "ion-escape"
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(words: Sequence[str] | None = None) -> int:
    """Run ``ioncc`` with ``words`` (``sys.argv`` by default) and return its exit code."""
    if words is not None or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return _main(words)
    signal.signal(signal.SIGINT, _leave)
    code = INTERRUPTED
    try:
        code = _main(None)
        signal.signal(signal.SIGINT, _leave)
    except KeyboardInterrupt:  # between the one and the other
        signal.signal(signal.SIGINT, _leave)
    # What is done is done: while Python takes itself down, Ctrl-C would change the exit code.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    if threading.active_count() > 1:
        from ion.shell.serving.shutdown import end_soon

        end_soon(code)
    return code


def _main(words: Sequence[str] | None) -> int:
    _open_missing_streams()
    _escape_what_cannot_be_written()
    from ion.base.errors import IonError
    from ion.shell import exits
    from ion.shell.commandline.options import START, parse

    commands = {START: _start, "check": _check, "config": _config, "doctor": _doctor}
    try:
        options = parse(sys.argv[1:] if words is None else words, _version)
        code = commands.get(options.command, _remote)(options)
        sys.stdout.flush()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else exits.FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `ioncc ps | head`: nobody reads on, which is no error of ours
        _close_stdout()
        return exits.OK
    except IonError as error:
        print(f"ioncc: {exits.one_line(error)}", file=sys.stderr)
        return exits.code_of(error)
    except OSError as error:  # what was to be printed cannot be written: a full disk
        is_gone = _is_terminal_gone(error)
        _close_stdout()
        if is_gone:
            return exits.OK
        print(f"ioncc: {exits.one_line(error)}", file=sys.stderr)
        return exits.FAILED
    return code


def _leave(number: int, frame: object) -> None:
    os._exit(INTERRUPTED)


def _heed_interrupts() -> None:
    """Let Ctrl-C be an exception again: what is to be run has been loaded."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _run(main: Coroutine[Any, Any, int]) -> int:
    import asyncio

    from ion.shell.serving.shutdown import end_soon

    _heed_interrupts()
    with asyncio.Runner() as runner:
        code = runner.run(main)
        sys.stdout.flush()  # what was printed is not left behind
        ending = end_soon(code, runner.get_loop())
    ending.cancel()
    return code


def _open_missing_streams() -> None:
    """Put nothing in place of a standard stream that was closed (``ioncc <&-``)."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - stays; light


def _escape_what_cannot_be_written() -> None:
    """Write what the encoding of standard output has no room for as JSON has it."""
    codecs.register_error(_ESCAPE, _escaped)
    stdout: Any = sys.stdout
    if getattr(stdout, "errors", "") == "strict":
        stdout.reconfigure(errors=_ESCAPE)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    pairs = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{pairs[n : n + 4]}" for n in range(0, len(pairs), 4)), error.end


def _close_stdout() -> None:
    """Let what is still to be written go nowhere, or the end of Python would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_terminal_gone(error: OSError) -> bool:
    """Return whether standard output is a terminal that was closed: nobody reads on there, too."""
    import errno
    import stat

    return error.errno == errno.EIO and stat.S_ISCHR(os.fstat(sys.stdout.fileno()).st_mode)


def _version() -> str:
    from ion.base.version import __version__

    return f"ioncc {__version__} (Python {sys.version.split()[0]})"


def _see_working_directory() -> None:
    """Let app files name modules that lie in the working directory, as `python -m` would."""
    directory = os.getcwd()  # noqa: PTH109 - an entry of sys.path is text
    if directory not in sys.path:
        sys.path.insert(0, directory)


def _start(options: Options) -> int:
    from ion.shell.serving.serve import serve

    _see_working_directory()
    return _run(serve(options))


def _remote(options: Options) -> int:
    from ion.shell.commands.remote import prepare, run

    _heed_interrupts()
    return prepare(options) or _run(run(options))


def _check(options: Options) -> int:
    from ion.shell.commands.check import check

    _see_working_directory()
    _heed_interrupts()
    return check(options)


def _doctor(options: Options) -> int:
    from ion.shell.doctor.command import doctor

    _see_working_directory()
    return _run(doctor(options))


def _config(options: Options) -> int:
    from ion.shell.commands.config import config

    _heed_interrupts()
    return config(options)


if __name__ == "__main__":
    sys.exit(main())
