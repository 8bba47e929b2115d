"""The command line of ``ioncc attach``: its arguments, as data."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from ion.shell.commandline.operate import ALL, Word

ATTACH = "attach"
ONLY = ALL  # where no container is named: the one there is
_DESCRIPTION = """\
Open the interactive shell of a container that runs elsewhere. What is typed runs here; its helpers
(info() lists them) act there, over the bus, as the operator's commands do: both sides must have
the key of the system. exit() and Ctrl-D detach, and never stop the container.
Where standard input is no terminal, the statements in it are run; the first error ends it.
"""
_EPILOG = """\
examples:
  ioncc attach lab_1                             the prompt of container lab_1
  ioncc attach lab_1 --record look.transcript    the same, kept as a test
  echo "ps()" | ioncc attach lab_1               from a script
"""


@dataclass
class Fields:
    """What was typed after it, besides the container.

    :ivar record: the file for a transcript.
    """

    record: str | None = None


def _add(parser: argparse.ArgumentParser) -> None:
    node = "a container: its id, or a beginning that only one has (default: the only one)"
    parser.add_argument("node", nargs="?", default=ONLY, metavar="NODE", help=node)
    record = "write what is typed and shown into the new file FILE, which can be replayed as a test"
    history = "the shell keeps no history file"
    parser.add_argument("-i", "--no-history", action="store_true", help=history)
    parser.add_argument("--record", metavar="FILE", help=record)


WORD = Word("open the shell of a container", _DESCRIPTION, _EPILOG, _add)
