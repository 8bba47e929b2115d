"""The readers: data with the line of every key, or one clear error; never anything else."""

from __future__ import annotations

import ast
import contextlib
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ion.base import document, yamlreader
from ion.base.errors import ConfigurationError

LEGACY = sorted(Path(__file__).parents[1].glob("data/legacy/*/*"))


def test_yaml_with_lines() -> None:
    text = "name: x\n\napps:\n  - name: a\n    config: {b: 1,\n      c: [2, 3]}\n  - name: d\n"
    read = document.parse(text, "f.yml")
    assert read.data == {
        "name": "x",
        "apps": [{"name": "a", "config": {"b": 1, "c": [2, 3]}}, {"name": "d"}],
    }
    assert read.line_of(("name",)) == 1
    assert read.line_of(("apps", 0, "name")) == 4
    assert read.line_of(("apps", 0, "config", "c", 1)) == 6
    assert read.line_of(("apps", 1)) == 7
    assert read.line_of(("apps", 1, "not", "there")) == 7
    assert read.line_of(("nowhere",)) == 1


def test_literal_with_lines() -> None:
    text = "# a comment\n {\n  'a': ('x', [1, -2.5], {}),  # why\n  'b': {'c': None,\n 'd': True}}"
    read = document.parse(text, "f.app", either=True)
    assert read.data == {"a": ("x", [1, -2.5], {}), "b": {"c": None, "d": True}}
    assert read.line_of(("a",)) == 3
    assert read.line_of(("b", "c")) == 4
    assert read.line_of(("b", "d")) == 5


def test_a_yaml_map_in_braces_is_no_literal() -> None:
    text = "# why\n{ # what\n  type: application, 'mod': [m, {a: b}]}"
    read = document.parse(text, "f.app", either=True)
    assert read.data == {"type": "application", "mod": ["m", {"a": "b"}]}
    assert document.parse("{}", "f.app", either=True).data == {}


def test_json_is_a_literal_too() -> None:
    read = document.parse('{"a": [true, false, null]}', "f.rel", either=True)
    assert read.data == {"a": [True, False, None]}


@pytest.mark.parametrize("path", LEGACY, ids=lambda path: path.name)
def test_the_files_of_the_original_load_unchanged(path: Path) -> None:
    read = document.read(path)
    assert read.data == ast.literal_eval(path.read_text().strip())
    line = path.read_text().splitlines()[read.line_of(("name",)) - 1]
    assert '"name"' in line


def test_there_are_files_of_the_original() -> None:
    assert len(LEGACY) == 53


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "f:3: key 'a' occurs twice (first in line 1)"),
        ("a: 1\n  b: 2\n", "f:2: not YAML: mapping values are not allowed"),
        ("a: [1\nb: 2\n", "f:2: not YAML:"),
        ("a: b: c\n", "f:1: not YAML:"),
        ("\ta: 1\n", "f:1: not YAML: found character that cannot start any token"),
        ("a: *x\n", "f:1: a: alias 'x' has no anchor"),
        ("a: !!python/object/apply:os.system ['ls']\n", "f:1: a: tag"),
        ("a: !!binary aGk=\n", "f:1: a: tag 'tag:yaml.org,2002:binary' is not known"),
        ("a: !!int x\n", "f:1: a: 'x' is no int"),
        ("a: 1\n---\nb: 2\n", "f:2: a second document"),
        ("x: &x {a: 1}\ny:\n  <<: *x\n", "f:3: y: merge keys"),
        ("? [a]\n: 1\n", "f:1: a key must be text or a number"),
        ("a: " + "[" * 60 + "]" * 60, "f:1: nested deeper than 50 levels"),
        ("a: '\x07'\n", "not YAML:"),
    ],
)
def test_faults_of_yaml(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        document.parse(text, "f")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{'a': 1,\n'a': 2}", "f:2: key 'a' occurs twice (first in line 1)"),
        ("{'a': 1,\n 'b' 2}", "f:2: not a literal:"),
        (
            "{'a': [1,\n 2}",
            "closing parenthesis '}' does not match opening parenthesis '[' on line 1",
        ),
        ("\n{'a': 1,\n 'b': 2", "f:2: not a literal: '{' is never closed"),
        ("{'a': 1}}", "f:1: not a literal: closing parenthesis '}' closes nothing"),
        ("{'a': 1})\n", "f:1: not a literal: there is one ')' too many"),
        ("{'a': '\f',\n 'b': [1", "f:2: not a literal: '[' is never closed"),
        (
            "{'a':\n __import__('os').system('ls')}",
            "f:2: a: only literals are data here, not: Call",
        ),
        ("{'a': b}", "f:1: a: only literals are data here, not: name 'b' (text needs quotes)"),
        ("{'a': 1 + 1}", "not: BinOp"),
        ("{'a': b'x'}", "not: Constant"),
        ("{'a': 1j}", "not: Constant"),
        ("{'a': ...}", "not: Constant"),
        ("{'a': -True}", "not: UnaryOp"),
        ("{'a': f'{x}'}", "not: JoinedStr"),
        ("{'a': {1, 2}}", "not: Set"),
        ("{**{}}", "'**' is not data"),
        ("{('a', 'b'): 1}", "not: Tuple"),
        ("{'a': 1})+(2", "not: BinOp"),
        ("{'a': " + "[" * 60 + "]" * 60 + "}", "nested deeper than 50 levels"),
        ("{'a': " + "[" * 5000 + "]" * 5000 + "}", "not a literal:"),
        ("{'a': " + "-" * 50000 + "1}", "f:1: "),
        ("{'a': " + "1" * 5000 + "}", "not a literal:"),
        ("{'a': 1\x00}", "not a literal:"),
    ],
)
def test_faults_of_literals(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        document.parse(text, "f", either=True)


def test_the_error_tells_programs_too() -> None:
    with pytest.raises(ConfigurationError) as caught:
        document.parse("a: 1\nb:\n  c: !!set {}\n", "f.yml")
    assert caught.value.details["file"] == "f.yml"
    assert caught.value.details["line"] == 3
    assert caught.value.details["key"] == "b.c"


def test_bounds(tmp_path: Path) -> None:
    big = tmp_path / "big.yml"
    big.write_bytes(b"#" * (document.MAX_BYTES + 1))
    with pytest.raises(ConfigurationError, match="larger than 1048576 bytes"):
        document.read(big)
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
    )
    with pytest.raises(ConfigurationError, match="more than 100000 values"):
        document.parse(laughs, "laughs.yml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nope\.app: cannot be read: No such file"):
        document.read(tmp_path / "nope.app")
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        document.read(tmp_path)
    with pytest.raises(ConfigurationError, match=r"cannot be read: .*embedded null"):
        document.read("a\0b")
    latin = tmp_path / "latin.yml"
    latin.write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(ConfigurationError, match=r"latin\.yml:2: not UTF-8 text \(byte 0xe9\)"):
        document.read(latin)


def test_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "x.app"
    path.write_bytes(b"\xef\xbb\xbf{'a': 1}")
    assert document.read(path).data == {"a": 1}


def test_what_yaml_reads_as_what() -> None:
    text = "[1, 1.5, true, no, null, ~, x, '1', 2024-01-01, 0x10, .inf, =, !!str 5, !!float 1]"
    expected = [1, 1.5, True, False, None, None, "x", "1", "2024-01-01", 16, float("inf")]
    assert document.parse(text, "f").data == [*expected, "=", "5", 1.0]
    assert document.parse("", "f").data is None
    assert document.parse("# nothing\n", "f").data is None


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(yamlreader, "_Loader", getattr(yaml, request.param))
    return str(request.param)


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(data=values)
@settings(max_examples=100, deadline=None)
def test_what_was_written_is_read(data: object) -> None:
    assert document.parse(yaml.safe_dump(data), "f").data == data
    assert document.parse(f"{{'a': {data!r}}}", "f", either=True).data == {"a": data}


def test_garbage_is_a_configuration_error(loader: str) -> None:
    """Whatever the bytes, the reader answers with data or with a ConfigurationError."""

    @given(st.binary(max_size=200) | yamlish.map(str.encode), st.booleans())
    @settings(max_examples=400, deadline=None)
    def run(content: bytes, either: bool) -> None:
        with contextlib.suppress(ConfigurationError):
            document.parse(content, "f", either=either)

    run()


pieces = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ": ",
    ",",
    "\n",
    "\n  ",
    "- ",
    "'",
    '"',
    "#",
    "&a",
    "*a",
    "!!int ",
]
pieces += [
    "!",
    "|",
    ">",
    "? ",
    "a",
    "b: 1",
    "<<: ",
    "---",
    "...",
    "%YAML 1.1",
    "1_0",
    "0b",
    "12:30",
]
pieces += ["(", ")", "None", "lambda", "\\", "\t", "-", "**", "1e", "{'a': ", "é", "\ud7ff", "="]
yamlish = st.lists(st.sampled_from(pieces), max_size=30).map("".join)
