"""The command line of the words that watch and steer a running system: their arguments, as data.

``health``, ``top``, ``tail``, ``spawn``, ``kill``, ``restart``, ``drain``, ``loglevel``. What they
do is in :mod:`ion.shell.commands`; here is only what may be typed after them.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ion.base.errors import ConfigurationError
from ion.shell.commandline.content import parse_content
from ion.shell.commandline.numbers import interval, whole

ALL = "all"
LEVELS = ("debug", "info", "warning", "error", "critical")
LINES = 10
MAX_LINES = 1000
EVERY = 2.0
_PID = re.compile(r"[^.\s]+\.\d+", re.ASCII)

NODE_HELP = "a container: its id, or a unique prefix of it"


@dataclass
class Fields:
    """What was typed after one of these words.

    :ivar node: a container's id or the beginning of one; ``all``.
    :ivar every: seconds between two samples of ``top``; ``count``: how many samples.
    :ivar level: least level of what ``tail`` shows, or what ``loglevel`` sets; "" where there is
        none.
    :ivar logger: beginning of the names of loggers; "" is all.
    :ivar grep: text that is in what ``tail`` shows.
    :ivar lines: how many recent records ``tail`` begins with.
    :ivar follow: whether ``tail`` stays for new ones.
    :ivar wait: whether ``drain`` waits for the end.
    :ivar subject: the class of ``spawn``, the pid of ``kill``, the app or pid of ``restart``.
    :ivar name: of the new process.
    """

    node: str = ALL
    every: float = EVERY
    count: int | None = None
    level: str = ""
    logger: str = ""
    grep: str = ""
    lines: int = LINES
    follow: bool = True
    wait: bool = True
    subject: str = ""
    name: str | None = None
    words: Sequence[str] = ()


class Word(NamedTuple):
    """One word: what ``--help`` says of it, and what adds its arguments."""

    summary: str
    description: str
    epilog: str
    add: Callable[[argparse.ArgumentParser], None]


def is_pid(word: str) -> bool:
    """Tell whether ``word`` has the form of a process id."""
    return _PID.fullmatch(word) is not None


def check(command: str, fields: Fields, content: Sequence[str]) -> None:
    """Hold what was typed after ``command`` against what it takes; put ``words`` where they belong.

    :raises IonError: something is no pid, no class, or no level.
    """
    if command == "kill" and not is_pid(fields.subject):
        _refuse(f"{fields.subject!r} is no pid such as lab_1.7: ioncc ps lists them")
    if command == "restart" and is_pid(fields.subject) and fields.node != ALL:
        _refuse("--node goes with an app: a pid says where it is itself")
    if command == "spawn":
        module, _, name = fields.subject.partition(":")
        if not module or not name:
            _refuse(f"{fields.subject!r} is no class: write package.module:Class")
        if not isinstance(parse_content(content), dict):
            _refuse("the arguments of a process are key=value words, or a JSON object")
    if command == "loglevel":
        _sort_words(fields)


def _sort_words(fields: Fields) -> None:
    """Tell NODE and LEVEL of ``loglevel`` apart; a word that is a level is one."""
    words = list(fields.words)
    if len(words) > 2:  # noqa: PLR2004 - a node and a level
        _refuse(f"loglevel takes NODE and LEVEL; {len(words)} words were given")
    if words and words[-1].lower() in LEVELS:
        fields.level = words.pop().lower()
    if len(words) == 2:  # noqa: PLR2004
        _refuse(f"{words[1]!r} is no level: {', '.join(LEVELS)}")
    if words:
        fields.node = words[0]


def _refuse(message: str) -> None:
    raise ConfigurationError(message)


# --- arguments


def _add_top(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    _add_node(parser)
    add("--every", type=interval, metavar="S", help=f"seconds between two samples ({EVERY:g})")
    add(
        "--count",
        type=whole("samples"),
        metavar="N",
        help="end after N samples; print them one by one",
    )


def _add_tail(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    _add_node(parser)
    add("--level", choices=LEVELS, type=str.lower, help="lowest level that is shown")
    add("--logger", metavar="NAME", help="only that logger and those below it")
    add("--grep", metavar="TEXT", help="only records that contain TEXT, in upper or lower case")
    lines = f"begin with the last N records (default: {LINES}, at most {MAX_LINES})"
    add("-n", "--lines", type=whole("records", 0, MAX_LINES), metavar="N", help=lines)
    both = parser.add_mutually_exclusive_group()
    both.add_argument(
        "-f",
        "--follow",
        action="store_true",
        help="keep showing new records as they come (default)",
    )
    both.add_argument(
        "--no-follow", dest="follow", action="store_false", help="show the recent ones and end"
    )


def _add_spawn(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--name", metavar="NAME", help="name of the process (default: that of its class)")
    add("node", metavar="NODE", help=NODE_HELP)
    add("subject", metavar="PACKAGE.MODULE:CLASS", help="a class that the container can import")
    content = "KEY=VALUE | JSON"
    add("content", nargs="*", default=[], metavar=content, help="arguments of its __init__")


def _add_kill(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("subject", metavar="PID", help="id of a process, as ioncc ps shows it")


def _add_restart(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--node", metavar="NODE", help="only in that container (default: in all that run the app)")
    add("subject", metavar="APP | PID", help="a running app, or a process that has a supervisor")


def _add_drain(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--no-wait", dest="wait", action="store_false", help="do not wait until it is gone")
    add("node", metavar="NODE", help=f"{NODE_HELP}; {ALL} is the whole system")


def _add_loglevel(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--logger", metavar="NAME", help="that logger and those below it (default: all)")
    add("words", nargs="*", metavar="[NODE] [LEVEL]", help=f"{ALL} by default; {', '.join(LEVELS)}")


def _add_node(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "node", nargs="?", default=ALL, metavar="NODE", help=f"{NODE_HELP} (default: {ALL})"
    )


_COMMANDING = """\
It is a command: it is signed with the key of the system, which ioncc finds where it runs as the
user of the containers (see docs/how-to/operate.md).
"""

WORDS = {
    "health": Word(
        "show whether containers are live and ready",
        "Show whether containers are live and ready for work, and what is wrong if they are not.\n"
        "Exits 0 if all are ready, otherwise 1.",
        "",
        _add_node,
    ),
    "top": Word(
        "show rates and the busiest, again and again",
        "Show how busy containers, services and processes are: rates between two samples.\n"
        "On a terminal the display is refreshed; q or Ctrl-C ends it.",
        "",
        _add_top,
    ),
    "tail": Word(
        "follow the logs of containers",
        "Show the last log records of containers, then new ones as they come; Ctrl-C ends it.\n"
        "Only what a container logs at its level is shown: see ioncc loglevel.",
        "",
        _add_tail,
    ),
    "spawn": Word(
        "start a process",
        "Start a process in a container; print its pid.",
        f"{_COMMANDING}\n"
        "examples:\n"
        "  ioncc spawn lab_1 ion.services.hello.service:HelloService --name greeter\n",
        _add_spawn,
    ),
    "kill": Word(
        "terminate a process",
        "Terminate a process; calls that it has begun end first. If a supervisor keeps it\n"
        "running, it is started again.",
        _COMMANDING,
        _add_kill,
    ),
    "restart": Word(
        "restart an app, or a supervised process",
        "Drain and restart an app, in all containers that run it, one after another; or let the\n"
        "supervisor of a process restart it.",
        _COMMANDING,
        _add_restart,
    ),
    "drain": Word(
        "finish, then stop a container",
        "Let a container finish its current work and stop; wait until it is gone.",
        _COMMANDING,
        _add_drain,
    ),
    "loglevel": Word(
        "show or set what is logged",
        "Show the log level of containers, or change it while they run.",
        _COMMANDING,
        _add_loglevel,
    ),
}
