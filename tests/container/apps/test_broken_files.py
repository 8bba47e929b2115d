"""Files that are broken, each in its own way: what is said of them names file, line and key.

They are in tests/data/broken, with a table here of what must be said. ``check`` and a start must
say the same place, whatever words they have for it; neither may do anything but say it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from ion import Container, IonError
from ion.base import config
from ion.base.document import MAX_BYTES
from ion.shell.main import main
from tests.shell.forking import shared

BROKEN = Path(__file__).parents[2] / "data" / "broken"
GENERATED = "huge.app"  # a megabyte of comments is not kept
TORN = "class Port(\n    pass\n"  # a module that some files name, and that the linter must not see


class Case(NamedTuple):
    """What must be said of a file.

    :ivar file: that is given.
    :ivar line: None where there is none to name.
    :ivar key: None where the file as a whole is meant.
    :ivar words: in the message, of a start as of ``check``.
    :ivar at: the file that is at fault, where it is not the one that is given.
    """

    file: str
    line: int | None
    key: str | None
    words: str
    at: str = ""


CASES = [
    # what cannot be read at all
    Case("dangling.app", None, None, "cannot be read: it is a link to nothing"),
    Case("folder.app", None, None, "cannot be read: it is a folder"),
    Case("folder.yml", None, None, "cannot be read: Is a directory"),
    Case("nowhere.app", None, None, "there is no"),
    Case("binary.app", 2, None, "not UTF-8 text (byte 0x80)"),
    Case("latin1.app", 3, None, "not UTF-8 text (byte 0xe9)"),
    Case("utf16.app", 1, None, "not UTF-8 text (byte 0xff)"),
    Case("settings_latin1.yml", 2, None, "not UTF-8 text"),
    Case("huge.app", 1, None, "larger than 1048576 bytes"),
    # what is no YAML, or more than data
    Case("control_character.app", 3, None, "not YAML: unacceptable character #x0007"),
    Case("tabs.app", 4, None, "not YAML: found character that cannot start any token"),
    Case("bad_indent.app", 5, None, "not YAML: mapping values are not allowed"),
    Case("unclosed.app", 4, None, "not YAML:"),
    Case("settings_with_tabs.yml", 2, None, "not YAML:"),
    Case("duplicate_key.app", 6, None, "key 'config' occurs twice (first in line 4)"),
    Case("settings_twice.yml", 4, "container", "key 'sysname' occurs twice (first in line 2)"),
    Case("bomb.app", 9, None, "more than 100000 values"),
    Case("deep.app", 5, None, "nested deeper than 50 levels"),
    Case("alias_of_nothing.app", 4, "config.a", "alias 'b' has no anchor before it"),
    Case("merge_key.app", 6, "config.two", "merge keys ('<<') are not known here"),
    Case("python_tag.app", 5, "config.run", "tag 'tag:yaml.org,2002:python/object/apply"),
    Case("two_documents.app", 4, None, "a second document"),
    # what is no literal of the old kind
    Case("literal_no_comma.app", 6, None, "not a literal: invalid syntax"),
    Case("literal_unclosed.app", 7, None, "not a literal:"),
    Case("literal_call.app", 7, "config.home", "only literals are data here, not: Call"),
    Case("literal_bare_name.app", 6, "mod.0", "name 'json' (text needs quotes)"),
    Case("literal_duplicate.app", 7, None, "key 'version' occurs twice (first in line 5)"),
    Case("literal_three_parts.app", 6, "mod.1", "must be (process name, module, class)"),
    Case("literal_colon.rel", 4, "apps.0", "only literals are data here, not: Set"),
    # what is data, but no app
    Case("empty.app", 1, None, "must be a map"),
    Case("only_comments.app", 1, None, "must be a map"),
    Case("list.app", 1, None, "must be a map"),
    Case("text.app", 1, None, "must be a map, not 'hello'"),
    Case("a_release.app", 1, "type", "no such choice: 'release'"),
    Case("no_type.app", 1, None, "key 'type' is missing"),
    Case("other_type.app", 1, "type", "did you mean 'application'?"),
    Case("no_name.app", 1, None, "key 'name' is missing"),
    Case("dotted_name.app", 2, "name", "must be a name of letters, digits"),
    Case("starts_nothing.app", 1, None, "starts nothing"),
    Case("byte_order_mark.app", 3, "modd", "unknown key (did you mean 'mod'?)"),
    Case("misspelt_key.app", 3, "modd", "unknown key (did you mean 'mod'?)"),
    Case("misspelt_deep.app", 6, "processes.0.restrat", "did you mean 'restart'?"),
    Case("wrong_types.app", 3, "version", "must be text, not [1]"),
    Case("wrong_types.app", 6, "applications", "must be a list, not {'hello': 1}"),
    Case("wrong_types.app", 8, "start_type", "no such choice: 'always'"),
    Case("no_dotted_name.app", 3, "mod", "'lab port' is not a dotted name"),
    Case("mod_number.app", 3, "mod", "must be a dotted name"),
    Case("duplicate_id.app", 6, "processes.2.id", "id 'a' is given twice"),
    Case("bad_restart.app", 4, "processes.0.restart", "did you mean 'permanent'?"),
    Case("negative_shutdown.app", 6, "processes.0.shutdown", "must be a number >= 0.0, not -1"),
    Case("significant_permanent.app", 4, "processes.0.significant", "is always restarted"),
    Case("bad_strategy.app", 5, "supervision.strategy", "did you mean 'one_for_one'?"),
    Case("bad_intensity.app", 4, "supervision.intensity", "must be a whole number >= 0"),
    Case("bad_intensity.app", 4, "supervision.period", "must be a number > 0.0, not 0"),
    Case("bad_backoff.app", 5, "supervision.backoff.factor", "must be a number >= 1.0"),
    Case("bad_backoff.app", 5, "supervision.backoff.frist", "did you mean 'first'?"),
    # what an app names, and is not there or is something else
    Case("missing_module.app", 4, "processes.0.class", "there is no module 'no_such_package.port'"),
    Case("missing_class.app", 5, "processes.0.class", "has no 'HelloServise'"),
    Case("no_process_class.app", 4, "processes.0.class", "'json:JSONDecoder' is no process class"),
    Case("function_for_class.app", 4, "processes.0.class", "'json:dumps' is no process class"),
    Case("class_with_arguments.app", 3, "mod", "takes keyword arguments only, not [1, 2]"),
    Case("misspelt_argument.app", 6, "processes.0.args.intervall", "did you mean 'interval'?"),
    Case("argument_nobody_names.app", 6, "mod.kwargs.greeting", "does not take argument"),
    Case("lacking_argument.app", 6, "processes.0.args", "Agent needs argument 'resource'"),
    Case("no_start_and_stop.app", 3, "mod", "'json'"),
    Case("module_with_a_syntax_error.app", 3, "mod", "'(' was never closed"),
    Case("class_of_a_broken_module.app", 4, "processes.0.class", "'(' was never closed"),
    Case("needs_missing.app", 3, "applications.2", "no app 'helo' (did you mean 'hello'?)"),
    Case("needs_itself.app", 4, "applications", "need each other in a circle"),
    Case("cycle_one.app", 4, "applications", "(cycle_three.app:4) -> cycle_one"),
    Case("needs_broken.app", 4, "processes.0.restart", "no such choice", at="bad_restart.app"),
    # releases
    Case("empty.rel", 1, None, "must be a map"),
    Case("an_app.rel", 1, "type", "no such choice: 'application'"),
    Case("no_apps.rel", 1, None, "key 'apps' is missing"),
    Case("apps_are_names.rel", 4, "apps.0", "must be a map, not 'hello'"),
    Case("missing_name.rel", 4, "apps.0", "key 'name' is missing"),
    Case("missing_app.rel", 5, "apps.1.name", "there is no app 'hullo' (did you mean 'hello'?)"),
    Case("bad_mult.rel", 5, "apps.0.mult", "must be true or false, not 'twice'"),
    Case("bad_config.rel", 5, "apps.0.config", "must be a map"),
    Case("misspelt_argument.rel", 6, "apps.0.args.txt", "no __init__ that names it"),
    Case("misspelt_argument_of_process.rel", 7, "apps.0.args.txt", "no __init__ that names it"),
    Case("bad_processapp.rel", 5, "apps.0.processapp", "must be (process name, module, class)"),
    Case("missing_processapp.rel", 5, "apps.0.processapp", "no module 'no_such_package.one'"),
    Case("names_a_broken_app.rel", 6, "processes.0.shutdown", "not -1", at="negative_shutdown.app"),
    Case("names_an_unreadable_app.rel", 3, None, "not UTF-8", at="latin1.app"),
    Case("cycle.rel", 4, "applications", "need each other in a circle", at="cycle_one.app"),
    Case("twins.rel", 2, "name", "two apps are named 'twin': twin.app:2", at="other_twin.app"),
    # settings
    Case("unknown_section.yml", 3, "brocker", "unknown key (did you mean 'broker'?)"),
    Case("wrong_values.yml", 2, "container.drain_timeout", "must be a number, not 'soon'"),
    Case("wrong_values.yml", 4, "service.concurrency", "must be a whole number >= 1"),
    Case("settings_list.yml", 1, None, "settings must be a map of sections"),
    Case(
        "missing_interceptor.yml", 3, "messaging.interceptors.in.0", "no module 'no_such_package'"
    ),
]
# Fine by themselves: they are half of a fault.
PARTS = {"twin.app", "other_twin.app", "cycle_two.app", "cycle_three.app", "broken_module.py"}
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.file}-{case.key}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The broken files, and the module that some of them name."""
    place = tmp_path_factory.mktemp("broken") / "files"
    shutil.copytree(BROKEN, place, symlinks=True)
    (place / "folder.yml").mkdir()
    (place / "broken_module.py").write_text(TORN)
    (place / GENERATED).write_text("#" * MAX_BYTES + "\ntype: application\n")
    return place


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_there_are_enough_and_each_is_in_the_table(folder: Path) -> None:
    files = {path.name for path in folder.iterdir()}
    assert len(files) > 30
    assert files - {case.file for case in CASES} - PARTS == set()


@every_case
def test_check_names_file_line_and_key(
    here: Path, case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--json", case.file]) == 1
    out, err = capsys.readouterr()
    assert err == ""
    errors = [f for f in json.loads(out) if f["severity"] == "error"]
    places = [(f["file"], f["line"], f["key"]) for f in errors]
    place = (case.at or case.file, case.line, case.key)
    assert place in places
    assert any(case.words in f["message"] for f in errors), errors
    assert not any("Error:" in f["message"] for f in errors)  # no exception of ours or Python's
    assert "broken_module" not in sys.modules


@pytest.mark.parametrize("case", CASES[:-1], ids=lambda case: f"{case.file}-{case.key}")
async def test_a_start_names_them_too(here: Path, case: Case) -> None:
    with pytest.raises(IonError) as caught:
        await start(Path(case.file))
    said = str(caught.value)
    assert case.words in said
    if case.line is None:
        assert Path(case.file).stem in said
        return
    assert re.search(rf"{re.escape(case.at or case.file)}:{case.line}\b", said)
    assert case.key is None or case.key in said or "two apps" in said or "circle" in said


async def start(path: Path) -> None:
    """Start what a file says, and see that nothing of it stays where that goes wrong."""
    if path.suffix == ".yml":
        config.load(files=[path])
    async with Container("memory://") as container:
        begin = container.start_app if path.suffix == ".app" else container.start_rel
        try:
            await begin(path)
        finally:
            assert not container.apps
            assert len(container.processes) == 1


async def test_an_interceptor_that_is_not_there_is_told_by_key() -> None:
    container = Container("memory://", config={"messaging.interceptors.in": ["no_such_package:X"]})
    with pytest.raises(IonError, match=r"^messaging.interceptors: there is no module 'no_such_pac"):
        await container.start()


@pytest.mark.parametrize(
    "words",
    [
        ["bomb.app"],
        ["binary.app"],
        ["dangling.app"],
        ["literal_call.app"],
        ["module_with_a_syntax_error.app"],
        ["twins.rel"],
        ["-c", "wrong_values.yml", "hello"],
    ],
    ids=lambda words: words[-1] if "-c" not in words else words[1],
)
def test_ioncc_says_it_in_one_line(here: Path, words: list[str], tmp_path: Path) -> None:
    done = shared().run(["-n", *words], Path.cwd(), dict(os.environ), "", 60)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    case = next(case for case in CASES if case.file in words)
    where = case.at or case.file
    assert line.startswith("ioncc: ")
    assert (f"{where}:{case.line}" if case.line else where) in line
    assert case.words in line


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        ("  - {name: hello, version: '9.9'}\n", 4, "apps.0.version", "is '9.9', but"),
        (
            "  - name: hello\n  - name: hello\n",
            5,
            "apps.1.name",
            "is named before",
        ),
        ("  - name: ioncore\n  - name: renamed\n", 2, "name", "others find this app as 'renamed'"),
    ],
)
def test_what_is_only_odd_is_a_warning(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    line: int,
    key: str,
    words: str,
) -> None:
    """The original passed over these, and its files have them."""
    monkeypatch.chdir(tmp_path)
    Path("renamed.app").write_text(
        "type: application\nname: other\nprocesses: [{id: a, class: 'ion:Process'}]\n"
    )
    Path("odd.rel").write_text(f"type: release\nname: odd\napps:\n{text}")
    assert main(["check", "--json", "odd.rel"]) == 0
    (finding,) = json.loads(capsys.readouterr().out)
    assert (finding["severity"], finding["line"], finding["key"]) == ("warning", line, key)
    assert words in finding["message"]
