"""Every code block of the README and of docs/ does what its page says."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest

from tests.docs import BROKER, blocks, pages
from tests.shell.forking import shared

ROOT = Path(__file__).parent.parent
PAGES = pages(ROOT)
NEEDS = "<!-- needs: rabbitmq -->"


def run(page: Path, sandbox: Path, broker: str = "") -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PATH": os.pathsep.join(
            [str(shared().folder), sysconfig.get_path("scripts"), os.environ["PATH"]]
        ),
        "PYTHONPATH": f"{sandbox}{os.pathsep}{ROOT}",
        "HOME": str(sandbox),
        "XDG_DATA_HOME": str(sandbox / ".local"),
        "XDG_RUNTIME_DIR": str(sandbox),
        "NO_COLOR": "1",
        "COLUMNS": "100",
        "DOCS_AMQP": broker,
    }
    return shared().run([str(page), str(sandbox)], ROOT, environment, "", 110, "tests.docs")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_does_what_it_says(request, tmp_path, page):
    broker = ""
    if NEEDS in page.read_text():
        broker = request.getfixturevalue("amqp_url")
    done = run(page, tmp_path, broker)
    assert done.returncode == 0, done.stderr


def test_the_readme_is_no_empty_page():
    assert sum(block.language == "python" for block in blocks(PAGES[0].read_text())) >= 1


# The runner itself: pages that are right, and pages that are wrong in one place.

FENCE = "```"


def block(info: str, text: str) -> str:
    return f"{FENCE}{info}\n{text}\n{FENCE}\n\n"


RIGHT = "".join(
    (
        "# A page\n\n",
        block("python", "import asyncio\nx = 1\nprint('one', id(x))"),
        block("text output", "one ..."),
        block("python", "await asyncio.sleep(0)\nassert x == 1"),
        block("python", "asyncio.run(asyncio.sleep(0))"),
        block("python file=pkg/mine.py", "y = 2"),
        block("python", "from pkg import mine\nassert mine.y == 2"),
        block("bash", "test -f pkg/mine.py\necho done"),
        block("text output", "done"),
        block("console", "$ echo a; echo b >&2\na\nb\n$ false\n$ ioncc --version\nioncc ..."),
        block("yaml", "a: [1, 2]"),
        block("json", '{"a": 1}'),
        block("toml", "a = 1"),
        block("text", "anything"),
        block("bash no-run", "rm -rf /"),
        "<!-- no-run: better not -->\n",
    )
)
WRONG = {
    "an error": (block("python", "x = 1\n1 / 0"), ":2: ZeroDivisionError"),
    "another output": (block("python", "print(1)") + block("text output", "2"), "and not\n2"),
    "an error after await": (block("python", "await 5"), "TypeError"),
    "a failing script": (block("bash", "true\nfalse\ntrue"), "exit code 1"),
    "another answer": (block("console", "$ echo a\nb"), "it prints\na"),
    "broken yaml": (block("yaml", "a: [1"), "expected"),
    "broken json": (block("json", "{a: 1}"), "Expecting"),
    "an app with a typo": (block("yaml file=a.app", "type: applicatoin"), "exit code 1"),
    "no reason": (block("bash no-run", "ls"), "no-run without"),
    "an unknown language": (block("cobol", "DISPLAY"), "no way to run a block of 'cobol'"),
    "no language": (block("", "x"), "no way to run a block of 'no language'"),
    "no end": (f"{FENCE}python\nx = 1\n", "no way to run a block of 'unclosed'"),
}


def test_a_right_page_runs(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(RIGHT)
    done = run(page, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_page_is_found_out(tmp_path, name):
    text, found = WRONG[name]
    page = tmp_path / "page.md"
    page.write_text(text)
    done = run(page, tmp_path)
    assert done.returncode == 1
    assert found in done.stderr


IONCC = r"""ioncc -n 2>said &
until grep -q ready said; do sleep 0.02; done
sed -E 's/^ready [^ ]*_([0-9]+)_.*/\1/' said > pid"""


@pytest.mark.parametrize("left", ["sleep 600 &\necho $! > pid", IONCC], ids=["sleep", "ioncc"])
def test_what_a_script_leaves_running_is_killed(tmp_path, left):
    page = tmp_path / "page.md"
    page.write_text(block("bash", f"{left}\nfalse"))
    assert "exit code 1" in run(page, tmp_path).stderr
    pid = (tmp_path / "pid").read_text().strip()
    until = time.monotonic() + 20
    while _state(pid)[:1] not in {"", "Z"}:  # "ZN", where the tests are nice
        assert time.monotonic() < until


def _state(pid):
    words = ["ps", "-o", "stat=", "-p", pid]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def test_a_broker_is_put_where_the_page_names_one(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(NEEDS + "\n" + block("bash", f"test {BROKER} = amqp://there/"))
    assert run(page, tmp_path, "amqp://there/").returncode == 0
