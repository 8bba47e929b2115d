"""What the prompts offer and keep: completion and history, without a terminal."""

from __future__ import annotations

import readline

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import DummyInput
from prompt_toolkit.output import DummyOutput

from ion import Container
from ion.shell.helpers.helpers import Helpers
from ion.shell.prompt import prompt as prompts
from ion.shell.prompt.plain import PlainPrompt
from ion.shell.prompt.ptpython import PtpythonPrompt

LINES = [("rpc_s", "rpc_send"), ("svc.he", "hello"), ("svc.hello.pi", "ping")]


@pytest.fixture
async def namespace():
    """What the shell of a container with service `hello` can name."""
    async with Container("memory://") as container:
        await container.start_app("hello")
        yield Helpers(container).namespace()


@pytest.mark.parametrize(("typed", "offered"), LINES)
async def test_ptpython_completes_helpers_services_and_ops(namespace, typed, offered):
    with create_app_session(input=DummyInput(), output=DummyOutput()):
        prompt = PtpythonPrompt(namespace, None)
        completer = prompt.input.default_buffer.completer
        found = [
            c.display_text for c in completer.get_completions(Document(typed), CompleteEvent())
        ]
    assert any(offered in text for text in found), found


@pytest.mark.parametrize(("typed", "offered"), LINES)
async def test_readline_completes_helpers_services_and_ops(namespace, typed, offered):
    before = readline.get_completer()
    try:
        PlainPrompt(namespace, None, "leaves").close()
        assert offered in readline.get_completer()(typed, 0)
    finally:
        readline.set_completer(before)


def test_history_is_private_and_bounded(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = prompts.history_file()
    assert path == tmp_path / "ion" / "history"
    assert path.stat().st_mode & 0o077 == 0
    path.write_text("".join(f"+line {n}\n" for n in range(100_000)))
    assert prompts.history_file() == path
    kept = path.read_text().splitlines()
    assert kept[-1] == "+line 99999"
    assert kept[0].startswith("+line ")
    assert path.stat().st_size <= prompts.HISTORY_BYTES // 2


def test_a_home_that_cannot_be_written_gives_no_history(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert prompts.history_file() is None
