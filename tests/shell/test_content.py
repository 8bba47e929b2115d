"""From words to content, as `ioncc call` takes them."""

from __future__ import annotations

import pytest

from ion.shell.content import ContentError, needs_types, parse_content, split_target


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


def test_a_key_given_twice_is_refused():
    with pytest.raises(ContentError, match="twice"):
        parse_content(["a=1", "a=2"])
