"""The command line of ``ioncc call`` and ``ioncc send``: their arguments, as data."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

CALL, SEND = "call", "send"
DESCRIPTIONS = {
    CALL: "Call an op of a service and print its answer as JSON. If the op streams, print its\n"
    "items as they come, one line of JSON each.",
    SEND: "Send a one-way message: hand it to the broker, and wait for no answer.",
}
_DEADLINE = "deadline in seconds (default: the setting messaging.rpc_timeout)"
TIMEOUTS = {CALL: f"{_DEADLINE}; of a stream, the longest silence", SEND: _DEADLINE}
_EPILOG = """\
The last dot separates the op: "hello.v2.greet" is op greet of version 2 of hello, and
"<pid>.op" an op of one process. Content is given as key=value words, or as one JSON text.
A value that is JSON is taken as JSON where the op's annotation is not str, else as text.
Bytes: KEY@FILE is what the file holds (KEY@- what standard input gives; as text where the op's
annotation is str), KEY=base64:TEXT is short ones, where the annotation is bytes.

examples:
  ioncc {word} hello.hello text=you -b amqp://guest:guest@localhost:5672/
  ioncc {word} hello.hello '{{"text": "you"}}' -b amqp://guest:guest@localhost:5672/
  ioncc {word} camera.keep name=sea picture@sea.jpg
"""
_OUT = """\
  ioncc call camera.picture name=sea --out sea.jpg
  ioncc call gauge.readings n=1000 | jq .level         an op that streams
  ioncc call hello_progress.tour stops=3 --progress
"""


@dataclass
class Fields:
    """What was typed after them.

    :ivar target: ``SERVICE.OP``.
    :ivar content: the words after the target.
    :ivar given: what is in the files that they name, by name, once it was read.
    :ivar out: where the answer is written to; "-" is standard output, None: it is printed as JSON.
    :ivar progress: whether to tell how far the op is.
    """

    target: str = ""
    content: Sequence[str] = ()
    given: Mapping[str, bytes] = field(default_factory=dict)
    out: str | None = None
    progress: bool = False


def epilog(word: str) -> str:
    """Return what ``--help`` ends with."""
    return _EPILOG.format(word=word) + (_OUT if word == CALL else "")


def add_arguments(parser: argparse.ArgumentParser, word: str) -> None:
    """Add what may be typed."""
    parser.add_argument("target", metavar="SERVICE.OP", help="the service (or pid) and its op")
    meta, text = "KEY=VALUE | KEY@FILE | JSON", "the content of the message"
    # without a default, it would be asked for where SERVICE.OP is missing
    parser.add_argument("content", nargs="*", default=[], metavar=meta, help=text)
    if word == CALL:
        out = "write the answer to FILE (- is standard output): bytes and text as they are, "
        parser.add_argument("--out", metavar="FILE", help=f"{out}anything else as JSON")
        progress = "print the progress that the op reports on standard error, as JSON"
        parser.add_argument("--progress", action="store_true", help=progress)
