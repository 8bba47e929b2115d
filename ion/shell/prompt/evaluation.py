"""Run what a person typed: Python with top-level ``await``, on the container's event loop.

An expression that gives a coroutine is awaited, so that ``ping("hello")`` works without the word.
Ctrl-C ends the running line only: a waiting one is cancelled, a busy one gets KeyboardInterrupt.
"""

from __future__ import annotations

import ast
import asyncio
import codeop
import inspect
import types
from typing import Any

_FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


class Interrupted(Exception):
    """The line was ended by Ctrl-C."""


class Evaluator:
    """Runs lines one after the other in one namespace.

    :param namespace: the globals of the lines; ``_`` is the last result.
    """

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.namespace = namespace
        self._task: asyncio.Task[Any] | None = None

    @property
    def running(self) -> bool:
        """Whether a line is being run."""
        return self._task is not None

    async def run(self, text: str) -> Any:
        """Run ``text`` and return the value of its last expression, or None.

        :raises Interrupted: Ctrl-C, or the line was cancelled by what it ran.
        :raises SyntaxError: it is no Python.
        :raises BaseException: whatever the text raises, SystemExit included.
        """
        self._task = asyncio.create_task(self._guarded(text), name="ioncc shell line")
        try:
            outcome = await self._task
        except asyncio.CancelledError:
            if self._task.cancelled() and not _being_cancelled():
                raise Interrupted from None
            self._task.cancel()
            raise
        finally:
            self._task = None
        if isinstance(outcome, _Raised):
            raise outcome.error
        if outcome is not None:
            self.namespace["_"] = outcome
        return outcome

    def interrupt(self) -> None:
        """End the running line; called from a signal handler, on the main thread.

        :raises KeyboardInterrupt: the signal came while the line itself was computing.
        """
        task = self._task
        if task is None:
            return
        loop = task.get_loop()
        if asyncio.current_task(loop) is task:
            raise KeyboardInterrupt
        loop.call_soon_threadsafe(task.cancel)

    async def _guarded(self, text: str) -> Any:
        """Run; SystemExit and KeyboardInterrupt must not reach the loop, which they would stop."""
        try:
            return await self._run(text)
        except KeyboardInterrupt:
            return _Raised(Interrupted())
        except SystemExit as error:
            return _Raised(error)

    async def _run(self, text: str) -> Any:
        module = ast.parse(text, "<shell>", "exec")
        last = module.body.pop() if module.body and isinstance(module.body[-1], ast.Expr) else None
        if module.body:
            await self._call(compile(module, "<shell>", "exec", _FLAGS))
        if not isinstance(last, ast.Expr):
            return None
        value = await self._call(compile(ast.Expression(last.value), "<shell>", "eval", _FLAGS))
        return await value if inspect.iscoroutine(value) else value

    async def _call(self, code: types.CodeType) -> Any:
        value = types.FunctionType(code, self.namespace)()
        return await value if code.co_flags & inspect.CO_COROUTINE else value


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class _Raised:
    """An error on its way around the event loop."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Lines:
    """Collects lines until they are a whole statement; for front ends without an editor."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._compile = codeop.CommandCompiler()
        self._compile.compiler.flags |= _FLAGS

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, line: str) -> str | None:
        """Return the whole text, or None where more lines are needed."""
        self._lines.append(line)
        text = "\n".join(self._lines)
        try:
            whole = self._compile(text, "<shell>", "single") is not None
        except (SyntaxError, ValueError, OverflowError):
            whole = True  # running it tells what is wrong
        if not whole:
            return None
        self.clear()
        return text

    def clear(self) -> None:
        """Forget the lines so far."""
        self._lines.clear()
