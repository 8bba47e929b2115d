"""The command line of ``ioncc attach``: its arguments, as data."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from ion.shell.commandline.operate import ALL, Word

ATTACH = "attach"
ONLY = ALL  # where no container is named: the one there is
_DESCRIPTION = """\
Open the interactive shell on a container that runs elsewhere. What you type runs here; the helpers
(info() lists them) act there, over the bus, as operator commands: both sides must have the key of
the system. exit() and Ctrl-D detach, and never stop the container.
If standard input is not a terminal, its statements are run; the first error ends the session.
"""
_EPILOG = """\
examples:
  ioncc attach lab_1                             the prompt of container lab_1
  ioncc attach lab_1 --record look.transcript    the same, recorded as a test
  echo "ps()" | ioncc attach lab_1               from a script
"""


@dataclass
class Fields:
    """What was typed after it, besides the container.

    :ivar record: the file for a transcript.
    """

    record: str | None = None


def _add(parser: argparse.ArgumentParser) -> None:
    node = "a container: its id, or a unique prefix of it (default: the only container)"
    parser.add_argument("node", nargs="?", default=ONLY, metavar="NODE", help=node)
    record = "record input and output in the new file FILE, which can be run as a test"
    history = "the shell keeps no history file"
    parser.add_argument("-i", "--no-history", action="store_true", help=history)
    parser.add_argument("--record", metavar="FILE", help=record)


WORD = Word("open the shell of a container", _DESCRIPTION, _EPILOG, _add)
