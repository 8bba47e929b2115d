"""The loop of the interactive shell: read a statement, run it, show what came of it.

It goes on until the user leaves (``exit()``, Ctrl-D), or whoever runs it is told to stop. It never
ends a container itself.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from ion.shell.helpers.helpers import Helpers
from ion.shell.prompt.prompt import Prompt, history_file, open_prompt
from ion.shell.prompt.session import Leave, Outcome, Session
from ion.shell.render import Table
from ion.shell.serving.signals import StopSignals

if TYPE_CHECKING:
    from ion.container.container import Container
    from ion.shell.prompt.transcript import Recorder

CLOSE_WITHIN = 1.0  # seconds for a prompt to give the terminal back
STOPS = "stops the container"


async def run_shell(container: Container, stops: StopSignals, *, keep_history: bool) -> None:
    """Run the shell inside a running container until the user leaves or ``stops`` says so.

    :param keep_history: whether lines typed go to the history file.
    """
    helpers = Helpers(container)
    namespace = with_exit(helpers.namespace(), f"ends the shell and {STOPS}")
    print(await helpers.banner())
    prompt = open_prompt(namespace, history_file() if keep_history else None, STOPS)
    await Repl(prompt, namespace).run(stops)


def with_exit(namespace: dict[str, Any], meaning: str) -> dict[str, Any]:
    """Return ``namespace`` with ``exit`` and ``quit`` in it.

    :param meaning: what the end of the shell does, for people.
    """
    leave = Leave(meaning)
    return {**namespace, "exit": leave, "quit": leave}


class Repl:
    """Read, run, show.

    :param namespace: the globals of what is typed.
    :param recorder: what keeps a transcript; the caller closes it.
    :param scripted: nobody is there to read on: the first error ends it, and is told on standard
        error.
    """

    def __init__(
        self,
        prompt: Prompt,
        namespace: dict[str, Any],
        *,
        recorder: Recorder | None = None,
        scripted: bool = False,
    ) -> None:
        self._prompt = prompt
        self._session = Session(namespace)
        self._recorder = recorder
        self._scripted = scripted
        self._loop = asyncio.get_running_loop()

    async def run(self, stops: StopSignals) -> bool:
        """Serve the user until they leave, or the terminal does, or ``stops`` says so.

        Return False where an error ended it.
        """
        stops.ask_first(self._interrupt)
        try:
            return await self._until(stops.stopping)
        finally:
            stops.ask_first(None)
            self._prompt.close()

    async def _until(self, stopping: asyncio.Event) -> bool:
        """Serve; when ``stopping`` is set, close the prompt and give the rest a moment."""
        running = asyncio.create_task(self._serve(), name="ioncc shell")
        stopped = asyncio.create_task(stopping.wait(), name="ioncc shell stop")
        try:
            await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
            self._prompt.close()
            await asyncio.wait({running}, timeout=CLOSE_WITHIN)
        finally:
            stopped.cancel()
            running.cancel()
            await asyncio.wait({running}, timeout=CLOSE_WITHIN)
        if stopping.is_set() and self._scripted:
            return False  # not all of it was run
        return running.result() if running.done() and not running.cancelled() else True

    async def _serve(self) -> bool:
        while True:
            try:
                text = await self._prompt.read()
            except (EOFError, OSError):
                return True
            except UnicodeDecodeError as error:
                print(f"a line that is no text: {error}", file=sys.stderr)
                if self._scripted:
                    return False
                continue
            outcome = await self._session.run(text, keep=self._recorder is not None)
            if outcome.leaving:
                return True
            if self._recorder is not None:
                self._recorder.note(text, outcome)
            self._show(outcome)
            if self._scripted and outcome.error is not None:
                return False

    def _show(self, outcome: Outcome) -> None:
        if outcome.complaint is not None:
            print(outcome.complaint, file=sys.stderr if self._scripted else sys.stdout)
        elif outcome.error is not None:
            self._prompt.fail(outcome.error)
        elif isinstance(outcome.value, Table):
            outcome.value.show()
        elif outcome.value is not None:
            self._show_value(outcome.value)

    def _show_value(self, value: Any) -> None:
        try:
            self._prompt.show(value)
        except Exception as error:  # noqa: BLE001 - its repr is the user's, and so is the error
            self._prompt.fail(error)

    def _interrupt(self) -> bool:
        """Take Ctrl-C: it ends the running line, or goes to the prompt."""
        evaluator = self._session.evaluator
        if evaluator.running:
            evaluator.interrupt()
        else:
            self._loop.call_soon_threadsafe(self._prompt.interrupt)
        return True
