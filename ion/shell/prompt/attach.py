"""``ioncc attach NODE``: the prompt of a container that runs elsewhere.

Before anything is shown, both sides prove that they have the key of the system. To leave never
stops the container. Where standard input is no terminal, the statements in it are run, and the
first error ends it with exit code 1.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ion.base.errors import ServiceNotFound
from ion.process.calling import Calling
from ion.process.connection import Connection
from ion.shell import exits
from ion.shell.commandline.attach import ONLY
from ion.shell.commandline.options import Options
from ion.shell.commands.nodes import need_some, node_named
from ion.shell.commands.system import ANSWERS_WITHIN, present
from ion.shell.helpers.remote import DETACHES, RemoteHelpers, RemoteTarget
from ion.shell.prompt.pipe import PipePrompt
from ion.shell.prompt.prompt import Prompt, history_file, open_prompt
from ion.shell.prompt.repl import Repl, with_exit
from ion.shell.prompt.session import Session
from ion.shell.prompt.transcript import Recorder, written
from ion.shell.serving.signals import StopSignals

_SHOWN = 20


async def attach(connection: Connection, options: Options) -> int:
    """Serve the user at the prompt of the container that the options name.

    :raises ServiceNotFound: there is no such container.
    :raises Forbidden: one of both sides has not the key.
    """
    there = RemoteTarget(connection, await _chosen(connection, options))
    await there.prove()
    helpers = RemoteHelpers(there)
    namespace = with_exit(helpers.namespace(), DETACHES)
    banner = await helpers.banner()  # asks the container; completion is fed by the answer
    scripted = not (sys.stdin.isatty() and sys.stdout.isatty())
    with _recorded(options.record, there.id, await there.describe()) as recorder:
        prompt: Prompt
        if scripted:
            prompt = PipePrompt()
        else:
            print(banner)
            prompt = open_prompt(namespace, _history(options), "detaches")
        repl = Repl(prompt, namespace, recorder=recorder, scripted=scripted)
        with StopSignals() as stops:
            fine = await repl.run(stops)
    return exits.OK if fine else exits.FAILED


class Replay:
    """An attached session for a program, which gives statements and gets what they show.

    :param caller: what calls are made through.
    :param node: the container's id.
    """

    def __init__(self, caller: Calling, node: str) -> None:
        self._helpers = RemoteHelpers(RemoteTarget(caller, node))
        self._node = node
        self._session = Session(with_exit(self._helpers.namespace(), DETACHES))

    async def begin(self) -> None:
        """Let both sides prove that they have the key."""
        await self._helpers.banner()

    async def run(self, statement: str) -> str | None:
        """Return what a statement shows as a transcript has it; None where it leaves."""
        outcome = await self._session.run(statement, keep=True, echo=False)
        return None if outcome.leaving else written(outcome, [self._node])


async def _chosen(connection: Connection, options: Options) -> str:
    """Return the id of the container that the options mean: without a word, the only one."""
    within = options.timeout or ANSWERS_WITHIN
    ids = await present(connection.endpoint, within)
    await need_some(ids, connection, within)
    if options.node != ONLY:
        return node_named(options.node, ids)
    if len(ids) == 1:
        return ids[0]
    message = f"there are {len(ids)} containers, say which one: {', '.join(ids[:_SHOWN])}"
    raise ServiceNotFound(message, type="ContainerNotFound", details={"containers": ids})


def _history(options: Options) -> Path | None:
    return None if options.no_history else history_file()


def _started(info: Mapping[str, Any]) -> list[str]:
    return [str(app.get("name")) for app in info.get("apps", [])]


@contextmanager
def _recorded(path: str | None, node: str, info: Mapping[str, Any]) -> Iterator[Recorder | None]:
    if path is None:
        yield None
        return
    recorder = Recorder(Path(path), ids=[node], start=_started(info))
    try:
        yield recorder
    finally:
        recorder.close()
