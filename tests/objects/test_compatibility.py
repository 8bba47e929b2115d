"""Changes of protobuf files: what older and newer releases cannot read is found out."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ion.base.errors import ConfigurationError
from ion.objects.compatibility import compare
from tests.objects.protos import enum, file, file_set, message


def station(*fields, **more):
    return file(message("Station", *fields, **more))


BASE = ("string id = 1", "int32 count = 2", "oneof power: double battery = 3")
COLOURS = {"RED": 0, "GREEN": 1}

# What was, what is, the field and the rule that is named, and words of the text.
BREAKING = {
    "a field is removed": (
        station(*BASE), station(*BASE[1:]),
        ("lab.Station", "id", "removed"), "number 1 is not reserved",
    ),
    "its name is not reserved": (
        station(*BASE), station(*BASE[1:], reserved=[1]),
        ("lab.Station", "id", "removed"), "name 'id' is not reserved",
    ),
    "another number": (
        station(*BASE), station("string id = 9", *BASE[1:]),
        ("lab.Station", "id", "number"), "number 1 became 9",
    ),
    "another type": (
        station(*BASE), station("string id = 1", "string count = 2", BASE[2]),
        ("lab.Station", "count", "type"), "INT32 became STRING",
    ),
    "a type that is written in another way": (
        station(*BASE), station("string id = 1", "sint32 count = 2", BASE[2]),
        ("lab.Station", "count", "type"), "another way",
    ),
    "a wider type": (
        station(*BASE), station("string id = 1", "int64 count = 2", BASE[2]),
        ("lab.Station", "count", "type"), "are cut",
    ),
    "text as bytes": (
        station(*BASE), station("bytes id = 1", *BASE[1:]),
        ("lab.Station", "id", "type"), "no UTF-8",
    ),
    "another message": (
        file(message("A"), message("B"), message("S", ".lab.A x = 1")),
        file(message("A"), message("B"), message("S", ".lab.B x = 1")),
        ("lab.S", "x", "type"), ".lab.A became .lab.B",
    ),
    "another label": (
        station(*BASE), station("repeated string id = 1", *BASE[1:]),
        ("lab.Station", "id", "label"), "was optional, and is repeated",
    ),
    "a number is used again": (
        station(*BASE), station("string name = 1", *BASE[1:]),
        ("lab.Station", "id", "reused"), "that of 'name'",
    ),
    "a reserved number is used": (
        station(*BASE, reserved=[7]), station(*BASE, "string x = 7"),
        ("lab.Station", "x", "reserved"), "number 7, which was reserved",
    ),
    "a reserved name is used": (
        station(*BASE, names=["old"]), station(*BASE, "string old = 8", names=["old"]),
        ("lab.Station", "old", "reserved"), "name 'old', which was reserved",
    ),
    "a number is reserved no more": (
        station(*BASE, reserved=[7]), station(*BASE),
        ("lab.Station", "", "reserved"), "number 7 was reserved",
    ),
    "a name is reserved no more": (
        station(*BASE, names=["old"]), station(*BASE),
        ("lab.Station", "", "reserved"), "name 'old' was reserved",
    ),
    "a new field is required": (
        station(*BASE), station(*BASE, "required string x = 7"),
        ("lab.Station", "x", "label"), "older writers do not know it",
    ),
    "into a oneof": (
        station(*BASE), station(BASE[0], "oneof power: int32 count = 2", BASE[2]),
        ("lab.Station", "count", "oneof"), "from no oneof to power",
    ),
    "out of a oneof": (
        station(*BASE), station(*BASE[:2], "double battery = 3"),
        ("lab.Station", "battery", "oneof"), "from power to no oneof",
    ),
    "a message is removed": (
        station(*BASE), file(message("Other")),
        ("lab.Station", "", "message"), "removed, moved or renamed",
    ),
    "a message within one is removed": (
        file(message("S", nested=[message("In", "string x = 1")])), file(message("S")),
        ("lab.S.In", "", "message"), "removed",
    ),
    "a field of a message within one": (
        file(message("S", nested=[message("In", "string x = 1")])),
        file(message("S", nested=[message("In", "bool x = 1")])),
        ("lab.S.In", "x", "type"), "STRING became BOOL",
    ),
    "a value of an enumeration is removed": (
        file(enums=[enum("Colour", **COLOURS)]), file(enums=[enum("Colour", RED=0)]),
        ("lab.Colour", "GREEN", "value"), "not reserved",
    ),
    "a value has another number": (
        file(enums=[enum("Colour", **COLOURS)]), file(enums=[enum("Colour", RED=0, GREEN=2)]),
        ("lab.Colour", "GREEN", "value"), "1 became 2",
    ),
    "a value has another name": (
        file(enums=[enum("Colour", **COLOURS)]), file(enums=[enum("Colour", RED=0, BLUE=1)]),
        ("lab.Colour", "GREEN", "value"), "another name",
    ),
    "an enumeration within a message is removed": (
        file(message("S", enums=[enum("Colour", **COLOURS)])), file(message("S")),
        ("lab.S.Colour", "", "enum"), "removed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BREAKING)
def test_what_breaks_is_found(case):
    old, new, expected, text = BREAKING[case]
    (finding,) = compare(file_set(old), file_set(new))
    assert (finding.file, finding.message, finding.field, finding.rule) == ("lab.proto", *expected)
    assert text in finding.text
    assert str(finding).startswith("lab.proto: lab.")
    assert compare(file_set(old), file_set(old)) == []


def test_two_fields_that_change_places_are_found():
    old = station("string a = 1", "string b = 2")
    new = station("string b = 1", "string a = 2")
    findings = compare(file_set(old), file_set(new))
    assert {(each.field, each.rule) for each in findings} == {
        ("a", "number"), ("a", "reused"), ("b", "number"), ("b", "reused")
    }  # fmt: skip


def test_another_package_changes_all_names():
    findings = compare(file_set(station(*BASE)), file_set(file(package="other")))
    assert [(each.message, each.rule) for each in findings] == [
        ("", "package"), ("lab.Station", "message")
    ]  # fmt: skip


def test_what_all_can_read_is_fine():
    old = file(message("Station", *BASE), enums=[enum("Colour", **COLOURS)])
    new = file(
        message("Fresh", "required string x = 1"),
        message(
            "Station", "uint32 count = 2", BASE[2], "oneof power: string mains = 4",
            "repeated .lab.Fresh more = 5", reserved=[1], names=["id"],
        ),
        enums=[enum("Colour", **COLOURS, BLUE=2)],
    )  # fmt: skip
    assert compare(file_set(old), file_set(new, file(message("X"), name="more.proto"))) == []


@pytest.mark.parametrize("data", [b"", b"\xff\xff", b"\x0a\x05abc"])
def test_what_is_no_file_set_is_refused(data):
    with pytest.raises(ConfigurationError, match="the new one"):
        compare(file_set(station()), data)


def test_the_command(tmp_path):
    old, new = tmp_path / "old.pb", tmp_path / "new.pb"
    old.write_bytes(file_set(station(*BASE)))
    new.write_bytes(file_set(station(*BASE[1:])))

    def run(*arguments):
        command = [sys.executable, "-m", "ion.objects.compatibility", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    broken = run(old, new)
    assert broken.returncode == 1
    assert broken.stdout == (
        "lab.proto: lab.Station.id: it was removed, and its number 1 is not reserved [removed]\n"
    )
    assert (run(new, old).returncode, run(new, old).stdout) == (0, "")
    assert run(old, tmp_path / "none").returncode == 2
    assert "usage" in run(old).stderr
