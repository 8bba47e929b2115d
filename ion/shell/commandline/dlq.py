"""The command line of ``ioncc dlq``: its words and options, and which go together."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from ion.base.errors import ConfigurationError
from ion.shell.commandline.numbers import whole

DLQ = "dlq"
ACTIONS = ("list", "show", "replay", "purge")
MAX_SHOWN = 1000

DESCRIPTION = """\
Manage dead letters: messages that could not be handled.

  dlq list [KEY ...]  count them; without KEY: for all services that run now, and "processes"
  dlq show KEY        show the oldest, with the cause; they stay where they are
  dlq replay KEY      send them back to where they died, to be tried anew
  dlq purge KEY       drop them for good

KEY is a service, name.vN for a major version of it, sub.<point>.<name> for a durable subscription,
"processes" for messages to process ids, or the full name of the queue. Dead letters of a
service that does not run now are listed only by its KEY.
"""
EPILOG = """\
A search by --id goes through the whole queue, and hides it from others meanwhile. Replay sends only
what was there when it began. If it is killed, nothing is lost, but one message may be handled
twice.

examples:
  ioncc dlq list -b amqp://guest:guest@localhost:5672/
  ioncc dlq show hello --limit 5 -b amqp://guest:guest@localhost:5672/
  ioncc dlq replay hello --id 4f2a-17 --id 4f2a-18 -b amqp://guest:guest@localhost:5672/
"""
TIMEOUT = (
    "list: longest wait for the containers' answers (default: 1); replay: for the broker to take "
    "one message (default: 15); in seconds"
)


@dataclass
class Fields:
    """What was typed after it.

    :ivar action: what is to be done, with the queues of ``keys``.
    :ivar ids: of the messages that are meant; None: all.
    :ivar limit: how many at most.
    :ivar yes: whether to go on without asking.
    """

    action: str = ACTIONS[0]
    keys: Sequence[str] = ()
    ids: list[str] | None = None
    limit: int | None = None
    yes: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``dlq`` takes beside what all commands do."""
    add = parser.add_argument
    add(
        "--id",
        dest="ids",
        action="append",
        metavar="ID",
        help="only the message of this id; may be repeated",
    )
    add(
        "--limit",
        type=whole("messages"),
        metavar="N",
        help=f"only the N oldest (show: 20 by default, {MAX_SHOWN} at most; replay: all)",
    )
    add("--yes", action="store_true", help="purge: do not ask")
    add(
        "action",
        nargs="?",
        default=ACTIONS[0],
        choices=ACTIONS,
        metavar="ACTION",
        help=f"{', '.join(ACTIONS[:-1])} or {ACTIONS[-1]} (default: {ACTIONS[0]})",
    )
    add("keys", nargs="*", metavar="KEY", help="which dead letters; see above")


def check(words: Fields) -> None:
    """Hold the options against the action.

    :raises ConfigurationError: they do not go together, or one is missing.
    """
    fault = _fault(words)
    if fault:
        message = f"dlq {words.action} {fault}"
        raise ConfigurationError(message)


def _fault(words: Fields) -> str:
    action = words.action
    if words.ids is not None and action == "list":
        return "takes no --id"
    if words.limit is not None and action in ("list", "purge"):
        return "takes no --limit"
    if words.yes and action != "purge":
        return "takes no --yes"
    if action != "list" and len(words.keys) != 1:
        return f"takes one KEY, such as the name of a service; {len(words.keys)} were given"
    if action == "show" and (words.limit or 0) > MAX_SHOWN:
        return f"takes a --limit up to {MAX_SHOWN}"
    if action == "purge" and not words.yes and not sys.stdin.isatty():
        return "drops messages for good, and there is no terminal to ask: give --yes"
    return ""
