"""The prompt of ptpython: colours, completion, history search, editing of whole statements.

ptpython reads and draws; running the lines stays with :mod:`ion.shell.prompt.evaluation`, so that
both front ends behave alike. The prompt runs on the container's own loop.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from prompt_toolkit.document import Document
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.styles import DummyStyle
from ptpython.printer import OutputPrinter
from ptpython.python_input import PythonInput
from ptpython.utils import unindent_code

from ion.shell.prompt.plain import format_error


class _Input(PythonInput):
    """ptpython's editor, which takes ``await`` at the top level for valid."""

    def get_compiler_flags(self) -> int:
        return super().get_compiler_flags() | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


class PtpythonPrompt:
    """Reads statements and shows results with ptpython.

    :param namespace: what completion offers.
    :param history: file for the lines typed, or None.
    :ivar input: ptpython's editor.
    """

    def __init__(self, namespace: dict[str, Any], history: Path | None) -> None:
        self.input = _Input(
            get_globals=lambda: namespace,
            get_locals=lambda: namespace,
            history_filename=str(history) if history else None,
        )
        self.input.confirm_exit = False  # leaving drains, nothing is lost
        self.input.show_signature = True
        self.input.terminal_title = None
        self.input.enable_history_search = True
        self.input.insert_blank_line_after_output = False
        self._closed = False

    async def read(self) -> str:
        """Return the next statement."""
        while not self._closed:
            try:
                # Logging of the container prints above the line that is being typed.
                with patch_stdout(raw=True):
                    text = await self.input.app.run_async(
                        handle_sigint=False, set_exception_handler=False
                    )
            except KeyboardInterrupt:  # Ctrl-C as a key: begin the line anew
                self.input.default_buffer.document = Document()
                continue
            finally:
                self.input.default_buffer.reset()
            text = unindent_code(text)
            if text.strip():
                return str(text)
        raise EOFError

    def show(self, value: Any) -> None:
        """Print a value in colours."""
        self._printer().display_result(
            value,
            out_prompt=self.input.get_output_prompt(),
            reformat=False,
            highlight=True,
            paginate=False,
        )
        self.input.current_statement_index += 1

    def fail(self, error: BaseException) -> None:
        """Print a traceback that begins at the user's line."""
        print("".join(format_error(error)), end="")

    def interrupt(self) -> None:
        """Leave: at this prompt Ctrl-C is a key, so a signal came from outside."""
        self.close()

    def close(self) -> None:
        """End a waiting ``read``; prompt_toolkit puts the terminal back."""
        self._closed = True
        if self.input.app.is_running:
            self.input.app.exit(exception=EOFError)

    def _printer(self) -> OutputPrinter:
        app = self.input.app
        return OutputPrinter(
            output=app.output,
            input=app.input,
            style=app.style or DummyStyle(),
            style_transformation=self.input.style_transformation,
            title="",
        )
