"""Transcripts as tests: what is compared, what is told where they differ, how pytest finds them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ion import ConfigurationError, Container, connect
from ion.testing.transcripts import Mismatch, Transcript, replay


@pytest.fixture
def written(tmp_path):
    """A function that writes a transcript and returns its path."""

    def write(text: str):
        path = tmp_path / "session.transcript"
        path.write_text(text)
        return path

    return write


async def test_what_is_shown_must_be_what_was_shown(written):
    await replay(
        written("# start: hello\n\n>>> await svc.hello.hello(text='x')\n'Hello there, x'\n")
    )
    path = written("\n# start: hello\n>>> await svc.hello.hello(text='x')\n'Hello there, y'\n")
    with pytest.raises(Mismatch) as caught:
        await replay(path)
    said = str(caught.value).splitlines()
    assert said[0] == f"{path}:3"
    assert said[1].strip() == "await svc.hello.hello(text='x')"
    assert "- 'Hello there, y'" in str(caught.value)
    assert "+ 'Hello there, x'" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        ">>> 1\n",  # shows something, should not
        ">>> None\n1\n",  # shows nothing, should
        ">>> print('a')\nb\n",
        ">>> 1 / 0\nTraceback (most recent call last):\n    ...\nValueError: division by zero\n",
        ">>> kill(99)\nProcessNotFound (404): container <id> has no process '<id>.98' ...\n",
        ">>> node\n'<time>'\n",
    ],
)
async def test_a_difference_is_found(written, text):
    with pytest.raises(Mismatch):
        await replay(written(text))


@pytest.mark.parametrize(
    "text",
    [
        ">>> node\n'<id>'\n",
        ">>> {'a': 1,\n...  'b': 2}\n{'a': 1, 'b': ...}\n",
        ">>> print('a', end='\\n\\n')\na\n<BLANKLINE>\n",
        ">>> print('>>> 1')\n<prompt> 1\n",
        ">>> print('2026-01-02 03:04:05+00:00', 'in 12.5 ms')\n<time> in <n> ms\n",
        ">>> ping(0)\n'Ping ok: <id>.0 in <n> ms'\n",
        ">>> def f():\n...     return 1\n\n>>> f()\n1\n",
        ">>> {}[1]\nTraceback (most recent call last):\n  some frame\nKeyError: 1\n",
        ">>> print('many   blanks')\nmany blanks\n",
        "Prose.\n\n>>> 2\n2\n\nAnd more.\n",
        ">>> 1  # doctest: +SKIP\n2\n",
        ">>> exit()\n>>> 1\nnever run\n",
    ],
)
async def test_what_may_differ_does_not_matter(written, text):
    await replay(written(text))


async def test_the_container_that_it_replays_against_can_be_any(written, bus):
    url, config = bus
    config = {**config, "container.name": "west"}
    path = written(
        ">>> node\n'<id>'\n>>> len(await ps())\n1\n>>> (await ps()).rows[0]['pid']\n'<id>.0'\n"
    )
    async with Container(url, sysname="test", config=config) as container:
        await replay(path, container)
        async with connect(url, sysname="test") as connection:
            await replay(path, connection, "west")


@pytest.mark.parametrize("raw", [b"\xff\xfe", b">>> 1\n  >>>2\n", None], ids=repr)
def test_what_is_no_transcript(tmp_path, raw):
    path = tmp_path / "session.transcript"
    if raw is not None:
        path.write_bytes(raw)
    with pytest.raises(ConfigurationError, match=r"session\.transcript"):
        Transcript(path)


GOOD = "# start: hello\n\n>>> await svc.hello.hello(text='x')\n'Hello there, x'\n"
BAD = ">>> 1 + 1\n3\n"


def run_pytest(folder, *words):
    """Run pytest on a folder of a good and a bad transcript."""
    (folder / "good.transcript").write_text(GOOD)
    (folder / "bad.transcript").write_text(BAD)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", "/dev/null"]
    result = subprocess.run(
        [*command, f"--rootdir={folder}", *words, str(folder)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return result.returncode, result.stdout


def test_pytest_collects_them_where_it_is_told_to(tmp_path):
    code, said = run_pytest(tmp_path, "-o", "ion_transcripts=true")
    assert code == 1, said
    assert "1 failed, 1 passed" in said
    assert "transcript bad" in said
    assert "bad.transcript:1" in said
    assert "- 3" in said
    assert "+ 2" in said
    assert "runtest" not in said  # the frames that found it say nothing to who reads


def test_pytest_leaves_them_alone_by_default(tmp_path):
    code, said = run_pytest(tmp_path)
    assert (code, "no tests ran" in said) == (5, True)
