"""From words to content, as `ioncc call` takes them."""

from __future__ import annotations

import pytest

from ion.shell.commandline.content import (
    ContentError,
    check_content,
    files_in,
    needs_types,
    parse_content,
    split_target,
)


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("hello.hello", ("hello", "hello")),
        ("hello.v2.greet", ("hello.v2", "greet")),
        ("host_1_ab.3.op", ("host_1_ab.3", "op")),
    ],
)
def test_the_last_dot_separates_the_op(target, parts):
    assert split_target(target) == parts


@pytest.mark.parametrize("target", ["hello", "", ".", "hello.", ".op"])
def test_a_target_without_service_or_op_is_refused(target):
    with pytest.raises(ContentError, match=r"SERVICE\.OP"):
        split_target(target)


@pytest.mark.parametrize(
    ("words", "content"),
    [
        ([], {}),
        (['{"text": "a=b"}'], {"text": "a=b"}),
        (["[1, 2]"], [1, 2]),
        (["5"], 5),
        (['"x=y"'], "x=y"),
        (["null"], None),
        (["text=you"], {"text": "you"}),
        (["text=a=b", "n=1"], {"text": "a=b", "n": 1}),
        (["empty="], {"empty": ""}),
        (["list=[1,2]", "yes=true", "none=null"], {"list": [1, 2], "yes": True, "none": None}),
        (['quoted="5"'], {"quoted": "5"}),
        (["almost={not json"], {"almost": "{not json"}),
        (["nan=NaN"], {"nan": "NaN"}),
    ],
)
def test_content(words, content):
    assert parse_content(words) == content


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        ("str", "5", "5"),
        ("str", '"x"', '"x"'),
        ("str", "null", "null"),
        ("int", "5", 5),
        ("any", "5", 5),
        ("str | None", "null", None),
        ("str | None", "5", "5"),
        ("str | int", "5", 5),
        ("list[str]", '["5"]', ["5"]),
        ("int", "five", "five"),
    ],
)
def test_the_annotation_decides_whether_json_is_json(annotation, text, value):
    assert parse_content([f"x={text}"], {"x": annotation}) == {"x": value}


def test_annotations_are_needed_only_where_they_matter():
    assert needs_types(["n=5"])
    assert not needs_types(["text=you"])
    assert not needs_types(['{"n": 5}'])
    assert not needs_types([])


@pytest.mark.parametrize("words", [["bare"], ["a=1", "bare"], ["=x"], ["{broken"], ["5", "a=1"]])
def test_words_that_are_no_content_are_named(words):
    with pytest.raises(ContentError, match="key=value"):
        parse_content(words)


def test_json_stands_alone():
    for words in (['{"a": 1}', "b=2"], ["b=2", '{"a": "c=d"}']):
        with pytest.raises(ContentError, match="is JSON, all of the content by itself"):
            parse_content(words)


def test_a_key_given_twice_is_refused():
    with pytest.raises(ContentError, match="twice"):
        parse_content(["a=1", "a=2"])


@pytest.mark.parametrize(
    ("word", "annotation", "value"),
    [
        ("x@a/b.jpg", "bytes", b"\xc3\xa9"),
        ("x@a/b.jpg", "", b"\xc3\xa9"),
        ("x@a/b.jpg", "str", "é"),
        ("x@a/b.jpg", "str | None", "é"),
        ("x=base64:AAE=", "bytes | None", b"\0\1"),
        ("x=base64:", "bytes", b""),
        ("x=base64:AAE=", "str", "base64:AAE="),
        ("x=base64:AAE=", "str | bytes", "base64:AAE="),  # as before there was this
        ("x=base64:AAE=", "str | int", "base64:AAE="),
        ("x=base64:AAE=", "any", "base64:AAE="),
        ("x=base64:AAE=", "", "base64:AAE="),
        ("x=@a/b.jpg", "", "@a/b.jpg"),
        ("x=you@home", "", "you@home"),
    ],
)
def test_bytes(word, annotation, value):
    given = {"a/b.jpg": "é".encode()}
    check_content([word])
    assert set(files_in([word])) <= set(given)
    assert parse_content([word], {"x": annotation}, given) == {"x": value}
    assert needs_types([word]) is (word[1] == "@" or "base64:" in word)


def test_a_key_may_have_an_at():
    assert parse_content(["you@home=b@c"], {}, {}) == {"you@home": "b@c"}
    assert files_in(["you@home=b@c"]) == []


def test_two_keys_of_one_file():
    words = ["x@-", "y@-"]
    assert files_in(words) == ["-"]  # standard input gives it once
    assert parse_content(words, {}, {"-": b"1"}) == {"x": b"1", "y": b"1"}


def test_bytes_that_are_none():
    with pytest.raises(ContentError, match=r"'x' is no base64 .*x@FILE"):
        parse_content(["x=base64:AA"], {"x": "bytes"}, {})
    with pytest.raises(ContentError, match="'x' is to be text, and 'f' is no UTF-8"):
        parse_content(["x@f"], {"x": "str"}, {"f": b"\xff"})
    with pytest.raises(ContentError, match="'x' is given twice"):
        check_content(["x@f", "x=1"])
    with pytest.raises(ContentError, match="key=value"):  # as of a spawn
        parse_content(["x@f"])
