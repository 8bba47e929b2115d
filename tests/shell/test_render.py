"""Tables and JSON: readable, complete, and safe to print."""

from __future__ import annotations

import datetime
import io
import json

from google.protobuf import descriptor_pb2

from ion.shell.render import Table, cell_text, show_json, to_json


class Terminal(io.StringIO):
    """Text that says it is a terminal."""

    def isatty(self):
        return True


def test_plain_table_has_aligned_columns_and_a_count():
    table = Table(("name", "n"), [{"name": "long name", "n": 1}, {"name": "b"}], "2 rows")
    assert table.text().splitlines() == ["NAME       N", "long name  1", "b          -", "2 rows"]


def test_a_list_that_is_too_long_for_a_line_has_a_line_for_each_item(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    ops = ["ping()", f"find({', '.join(f'name{n}: str | None = None' for n in range(5))})"]
    rows = [{"name": "long", "ops": ops}, {"name": "brief", "ops": ["hello()", "ping()"]}]
    assert Table(("name", "ops"), rows, "2 rows").text().splitlines() == [
        "NAME   OPS",
        "long   ping()",
        "       find(name0: str | None = None, name1: str | None = None, name2: str | None = None,",
        "           name3: str | None = None, name4: str | None = None)",
        "brief  hello(), ping()",
        "2 rows",
    ]
    monkeypatch.setenv("COLUMNS", "20")
    narrow = Table(("name", "ops"), rows).text()
    assert max(map(len, narrow.splitlines())) <= 7 + 40
    assert narrow.count(": str | None = None") == 5


def test_an_empty_table_still_has_its_heading():
    assert Table(("a", "b"), [], "0 rows").text() == "A  B\n0 rows"


def test_a_file_gets_plain_text_and_a_terminal_a_drawing():
    table = Table(("name",), [{"name": "[bold]x[/bold]"}])
    plain, drawn = io.StringIO(), Terminal()
    table.show(plain)
    table.show(drawn)
    assert plain.getvalue() == "NAME\n[bold]x[/bold]\n"
    assert "[bold]x[/bold]" in drawn.getvalue()  # text of others is no markup
    assert "─" in drawn.getvalue()


def test_what_it_is_about_is_never_folded(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    pid, drawn = "host_1234_0123abcd.12", Terminal()
    Table(("pid", "class"), [{"pid": pid, "class": "x" * 90}]).show(drawn)
    assert pid in drawn.getvalue()
    assert drawn.getvalue().count("x") == 90
    drawn = Terminal()
    Table(("pid", "class"), [{"pid": pid * 4, "class": "c"}]).show(drawn)
    assert drawn.getvalue().count("_") == 8  # too long for that: nothing is cut


def test_control_characters_of_others_never_reach_the_terminal():
    evil = "a\x1b[2Jb\nc"
    assert cell_text(evil) == r"a\x1b[2Jb\nc"
    drawn = Terminal()
    Table(("name",), [{"name": evil}]).show(drawn)
    assert "\x1b[2J" not in drawn.getvalue()


def test_json_of_what_messages_can_hold():
    value = {"b": b"\x00\xff", "t": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), "o": 1j}
    assert json.loads(to_json(value)) == {"b": "AP8=", "t": "2026-01-02T00:00:00Z", "o": "1j"}
    message = descriptor_pb2.FileDescriptorProto(name="x.proto", dependency=["y"])
    assert json.loads(to_json([message])) == [{"name": "x.proto", "dependency": ["y"]}]


def test_json_is_one_line_in_a_file_and_indented_on_a_terminal():
    plain, drawn = io.StringIO(), Terminal()
    show_json({"a": [1]}, plain)
    show_json({"a": [1]}, drawn)
    assert plain.getvalue() == '{"a":[1]}\n'
    assert len(drawn.getvalue().splitlines()) > 1
