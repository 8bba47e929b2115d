"""The interactive shell inside a running container.

It reads a statement, runs it on the container's loop and shows what came of it, until the user
leaves (``exit()``, Ctrl-D) or the container is told to stop. It never ends the container itself.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ion.base.errors import IonError
from ion.shell.evaluation import Evaluator, Interrupted
from ion.shell.exits import one_line
from ion.shell.helpers import Helpers
from ion.shell.prompt import Prompt, history_file, open_prompt
from ion.shell.render import Table, printable
from ion.shell.signals import StopSignals

if TYPE_CHECKING:
    from ion.container.container import Container

CLOSE_WITHIN = 1.0  # seconds for a prompt to give the terminal back


class Leave:
    """What ``exit`` and ``quit`` are: called or not, they end the shell."""

    def __call__(self) -> None:
        """End the shell; the container drains and stops."""
        raise SystemExit

    def __repr__(self) -> str:
        return "exit() or Ctrl-D ends the shell and stops the container"


async def run_shell(container: Container, stops: StopSignals, *, keep_history: bool) -> None:
    """Run the shell until the user leaves or ``stops`` says so.

    :param keep_history: whether lines typed go to the history file.
    """
    helpers = Helpers(container)
    leave = Leave()
    namespace = {**helpers.namespace(), "exit": leave, "quit": leave}
    print(await helpers.banner())
    prompt = open_prompt(namespace, history_file() if keep_history else None)
    shell = _Shell(prompt, Evaluator(namespace), asyncio.get_running_loop())
    stops.ask_first(shell.interrupt)
    try:
        await _until(shell.run(), stops.stopping, prompt)
    finally:
        stops.ask_first(None)
        prompt.close()


async def _until(run: Any, stopping: asyncio.Event, prompt: Prompt) -> None:
    """Await ``run``; when ``stopping`` is set, close the prompt and give the run a moment."""
    running = asyncio.create_task(run, name="ioncc shell")
    stopped = asyncio.create_task(stopping.wait(), name="ioncc shell stop")
    try:
        await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        prompt.close()
        await asyncio.wait({running}, timeout=CLOSE_WITHIN)
    finally:
        stopped.cancel()
        running.cancel()
        await asyncio.wait({running}, timeout=CLOSE_WITHIN)
    if running.done() and not running.cancelled():
        running.result()


class _Shell:
    """Read, run, show."""

    def __init__(
        self, prompt: Prompt, evaluator: Evaluator, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._prompt = prompt
        self._evaluator = evaluator
        self._loop = loop

    async def run(self) -> None:
        """Serve the user until they leave, or the terminal does."""
        while True:
            try:
                text = await self._prompt.read()
            except (EOFError, OSError):
                return
            if await self._run(text):
                return

    async def _run(self, text: str) -> bool:
        """Run one statement and show what came of it; return whether the user leaves."""
        try:
            value = await self._evaluator.run(text)
            if isinstance(value, Leave):
                return True
            self._show(value)
        except SystemExit:
            return True
        except Interrupted:
            print("interrupted")
        except IonError as error:  # says itself what was wrong: no traceback needed
            print(printable(f"{error.type} ({error.code}): {one_line(error)}"))
        except Exception as error:  # noqa: BLE001 - a user's line ends here
            self._prompt.fail(error)
        return False

    def interrupt(self) -> bool:
        """Take Ctrl-C: it ends the running line, or goes to the prompt."""
        if self._evaluator.running:
            self._evaluator.interrupt()
        else:
            self._loop.call_soon_threadsafe(self._prompt.interrupt)
        return True

    def _show(self, value: Any) -> None:
        if isinstance(value, Table):
            value.show()
        elif value is not None:
            self._prompt.show(value)
