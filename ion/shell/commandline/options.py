"""The command line as data: what may be typed, and what was.

``parse`` takes the words after ``ioncc`` and returns :class:`Options`; it prints help or a usage
error and raises SystemExit (0 or 2) as argparse does. The first word that is no option decides:
a reserved word is a command against a running system, any other is the first thing to start.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ion.base.errors import IonError
from ion.base.ids import checked_name
from ion.shell.commandline import attach as attachwords
from ion.shell.commandline import call as callwords
from ion.shell.commandline import dlq as dlqwords
from ion.shell.commandline import doctor as doctorwords
from ion.shell.commandline import operate as operatewords
from ion.shell.commandline.arguments import AppArguments
from ion.shell.commandline.content import check_content, split_target
from ion.shell.commandline.numbers import seconds

START = "start"  # the command where no reserved word was given
_LISTEN = "--listen"
_ANY_PORT = "127.0.0.1:0"
_ADDRESS = re.compile(
    r"(\d+(\.\d+){3}|\[[^]]*\]|localhost)(:\d*)?|[\w.-]*:\d+|[0-9A-Fa-f]*:[0-9A-Fa-f:]*|\d+",
    re.ASCII,
)
LEVELS = operatewords.LEVELS


@dataclass
class Options(operatewords.Fields, attachwords.Fields, callwords.Fields, dlqwords.Fields):
    """What was asked for. Optional values are None (or empty) where nothing was said.

    :ivar command: ``start`` or a reserved word.
    :ivar brokers: URLs in order of preference.
    :ivar listen: where the memory bus is to listen, ``HOST:PORT``.
    :ivar args: ``key=value`` words for the apps.
    :ivar settings: ``section.key=value`` words.
    :ivar timeout: seconds.
    :ivar plan: whether ``check`` shows what would be started.
    """

    command: str = START
    brokers: list[str] = field(default_factory=list)
    sysname: str | None = None
    json: bool = False
    config_files: list[str] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)
    token_file: str | None = None
    log_level: str | None = None
    log_format: str | None = None
    start: Sequence[str] = ()
    listen: str | None = None
    args: list[str] = field(default_factory=list)
    no_shell: bool = False
    no_history: bool = False
    lockfile: str | None = None
    files: Sequence[str] = ()
    timeout: float | None = None
    explain: str | None = None
    plan: bool = False


_START_DESCRIPTION = """\
Start a container with the apps and releases that START names. START is the path of an .app or
.rel file, or a name that is looked up in ./res/apps, in ./res/deploy and among those installed
with ION ("hello" is an app, "hello.rel" a release). On a terminal, the interactive shell opens.
"""

_START_EPILOG = """\
commands for a running system (to start an app that has such a name, add its suffix: top.app):
  ps         list processes                  services   list services and their ops
  apps       list running apps               nodes      list containers
  call       call SERVICE.OP and print its answer as JSON
  send       send SERVICE.OP one way         check      validate app, rel and config files
  config     show settings and where they come from
  dlq        list, show, replay or purge dead letters
  doctor     diagnose the set-up: what is wrong, and what helps
  health     show whether containers are live and ready
  top        show rates and the busiest        tail       follow the logs of containers
  spawn      start a process                   kill       terminate a process
  restart    restart an app or a process       drain      finish, then stop a container
  loglevel   show or set what is logged        attach     open the shell of a container
"ioncc COMMAND --help" describes each.

examples:
  ioncc hello.rel                                        the first thing to try
  ioncc -n -b amqp://guest:guest@localhost:5672/ hello   serve on RabbitMQ until SIGTERM
  ioncc call hello.hello text=you -b amqp://guest:guest@localhost:5672/

exit codes: 0 fine, 1 remote or start error, 2 usage, 3 system unreachable, 4 not found
"""


def parse(words: Sequence[str], version: Callable[[], str] = lambda: "") -> Options:
    """Return what ``words`` (without the program's name) ask for.

    :param version: makes the text of ``--version``; called only for it.
    :raises SystemExit: 0 after help or version, 2 after a usage error.
    """
    words = _with_address(words)
    start_parser, takes_value = _start_parser()
    if "--version" in words[: _first_word(words, takes_value)]:
        print(version())
        raise SystemExit(0)
    position = _first_word(words, takes_value)
    command = words[position] if position < len(words) else START
    if command not in _COMMANDS:
        options = start_parser.parse_intermixed_args(list(words), Options())
        if options.json:
            start_parser.error("--json is of the words that print something, as in ioncc ps --json")
        return _checked(options, start_parser)
    parser = _COMMANDS[command](command)
    rest = [*words[:position], *words[position + 1 :]]
    return _checked(parser.parse_intermixed_args(rest, Options(command=command)), parser)


def _checked(options: Options, parser: argparse.ArgumentParser) -> Options:
    """Return ``options`` where their words have the right form; else leave with a usage error."""
    try:
        if options.sysname is not None:
            checked_name(options.sysname, "sysname")
        if options.target:
            split_target(options.target)
            check_content(options.content)
        AppArguments(options.args)
        if options.command == dlqwords.DLQ:
            dlqwords.check(options)
        operatewords.check(options.command, options, options.content)
    except IonError as error:
        parser.error(error.message)
    for word in options.settings:
        if "=" not in word:
            parser.error(f"--set {word!r} is no section.key=value")
    return options


def _with_address(words: Sequence[str]) -> list[str]:
    """Return ``words`` with the address of ``--listen``, which may be left out, in its own word.

    So that ``ioncc --listen hello`` starts hello, and listens on any port.
    """
    result: list[str] = []
    rest = iter(words)
    for word in rest:
        result.append(word)
        if word == "--":
            break
        if word != _LISTEN:
            continue
        following = next(rest, None)
        if following and _ADDRESS.fullmatch(following):
            result[-1] = f"{_LISTEN}={following}"
        else:
            result[-1] = f"{_LISTEN}={_ANY_PORT}"
            result += [] if following is None else [following]
    return [*result, *rest]


def _first_word(words: Sequence[str], takes_value: frozenset[str]) -> int:
    """Return the position of the first word that is neither an option nor an option's value."""
    position = 0
    while position < len(words):
        word = words[position]
        if word == "--" or not word.startswith("-") or word == "-":
            return position
        position += 2 if _wants_next(word, takes_value) else 1
    return position


def _wants_next(word: str, takes_value: frozenset[str]) -> bool:
    """Tell whether the word after option ``word`` is its value (``-s x``, ``-ns x``)."""
    if word.startswith("--"):
        return word in takes_value
    for place in range(1, len(word)):
        if f"-{word[place]}" in takes_value:
            return place == len(word) - 1  # else the value is attached: -sname
    return False


# --- the parsers


def _parser(prog: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog,
        description=description,
        epilog=epilog or None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _add_common(group: argparse._ActionsContainer) -> list[argparse.Action]:
    """Add the options that every command takes; return their actions."""
    add = group.add_argument
    return [
        add(
            "-s",
            "--sysname",
            metavar="NAME",
            help="name of the system (default: ion)",
        ),
        add(
            "-b",
            "--broker",
            dest="brokers",
            action="append",
            metavar="URL",
            help="memory:// (default), local:// (the memory bus that listens on this machine) or "
            "amqp[s]://user:pass@host:port/vhost; may be repeated, for failover",
        ),
        add(
            "-c",
            "--config",
            dest="config_files",
            action="append",
            metavar="FILE",
            help="read settings from FILE too; may be repeated, later files win",
        ),
        add(
            "--set",
            dest="settings",
            action="append",
            metavar="SECTION.KEY=VALUE",
            help="set one setting, overriding all files; may be repeated",
        ),
        add("--token-file", metavar="FILE", help="file with the token that identifies the caller"),
        add("--log-level", choices=LEVELS, type=str.lower, help="lowest level that is logged"),
        add("--log-format", choices=("text", "json"), help="lines of text, or JSON"),
    ]


def _start_parser() -> tuple[argparse.ArgumentParser, frozenset[str]]:
    parser = _parser("ioncc", _START_DESCRIPTION, _START_EPILOG)
    add = parser.add_argument
    actions = _add_common(parser)
    actions += [
        add(
            "-a",
            "--args",
            action="append",
            metavar="KEY=VALUE",
            help="argument for the apps started here; apparg_<app>.<key>=value: for one app only",
        ),
        add(
            "--lockfile",
            metavar="PATH",
            help="hold PATH locked until the start is complete, for launchers that wait",
        ),
    ]
    add(
        _LISTEN,
        nargs="?",
        metavar="HOST:PORT",
        help="let others on this machine reach the memory bus (default: 127.0.0.1, any free port)",
    )
    add("-n", "--no-shell", action="store_true", help="serve until SIGINT or SIGTERM, then drain")
    add("-i", "--no-history", action="store_true", help="the shell keeps no history file")
    add("--version", action="store_true", help="print the version and exit")
    # Taken here too so that it may stand before a command; alone it is an error.
    add("--json", action="store_true", help=argparse.SUPPRESS)
    add("start", nargs="*", metavar="START", help="app or rel: a name, or the path of its file")
    return parser, frozenset(o for action in actions for o in action.option_strings)


def _remote_parser(prog: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
    parser = _parser(prog, description, epilog)
    _add_common(parser.add_argument_group("options of all commands"))  # below the command's own
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    return parser


def _listing(what: str) -> Callable[[str], argparse.ArgumentParser]:
    def build(word: str) -> argparse.ArgumentParser:
        parser = _remote_parser(f"ioncc {word}", f"List {what} of a running system.")
        _add_timeout(parser, "longest wait for the containers' answers, in seconds (default: 1)")
        return parser

    return build


def _calling_parser(word: str) -> argparse.ArgumentParser:
    said, epilog = callwords.DESCRIPTIONS[word], callwords.epilog(word)
    parser = _remote_parser(f"ioncc {word}", said, epilog)
    _add_timeout(parser, callwords.TIMEOUTS[word])
    callwords.add_arguments(parser, word)
    return parser


def _add_timeout(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--timeout", type=seconds, metavar="SECONDS", help=text)


def _check_parser(word: str) -> argparse.ArgumentParser:
    parser = _remote_parser(
        f"ioncc {word}",
        "Validate app, rel and config files, and the settings that apply here, without starting\n"
        "anything. Exits 1 if there is any error.",
    )
    parser.add_argument(
        "--plan",
        action="store_true",
        help="show in what order apps would start, with the settings of each and their origins",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help=".app, .rel or config file")
    return parser


def _config_parser(word: str) -> argparse.ArgumentParser:
    parser = _remote_parser(
        f"ioncc {word}",
        "Show the settings that a container started here would have, and where each comes from:\n"
        "shipped defaults < res/config/*.yml < ionlocal.yml < environment ION_* < command line.",
    )
    parser.add_argument("--explain", metavar="KEY", help="show one setting, such as broker.url")
    return parser


def _dlq_parser(word: str) -> argparse.ArgumentParser:
    parser = _remote_parser(f"ioncc {word}", dlqwords.DESCRIPTION, dlqwords.EPILOG)
    _add_timeout(parser, dlqwords.TIMEOUT)
    dlqwords.add_arguments(parser)
    return parser


def _doctor_parser(word: str) -> argparse.ArgumentParser:
    return _remote_parser(f"ioncc {word}", doctorwords.DESCRIPTION, doctorwords.EPILOG)


_WORDS = {**operatewords.WORDS, attachwords.ATTACH: attachwords.WORD}


def _operating_parser(word: str) -> argparse.ArgumentParser:
    said = _WORDS[word]
    parser = _remote_parser(f"ioncc {word}", said.description, said.epilog)
    _add_timeout(parser, "longest wait for an answer, in seconds")
    said.add(parser)
    return parser


_COMMANDS: dict[str, Callable[[str], argparse.ArgumentParser]] = {
    "ps": _listing("the processes"),
    "services": _listing("the services"),
    "apps": _listing("the running apps"),
    "nodes": _listing("the containers"),
    **dict.fromkeys(callwords.DESCRIPTIONS, _calling_parser),
    "check": _check_parser,
    "config": _config_parser,
    dlqwords.DLQ: _dlq_parser,
    "doctor": _doctor_parser,
    **dict.fromkeys(_WORDS, _operating_parser),
}
RESERVED = frozenset(_COMMANDS)
