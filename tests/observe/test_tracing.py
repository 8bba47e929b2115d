"""The traceparent header, by the examples of the recommendation and by what breaks it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.observe.tracing import TraceContext, child_header, new_trace, parse

HEADER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_the_example_of_the_recommendation():
    context = parse(HEADER)
    assert context == TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", True)
    assert context.header == HEADER
    assert parse(HEADER[:-2] + "00").sampled is False


def test_a_version_to_come_may_have_more_fields():
    assert parse("cc" + HEADER[2:] + "-what-comes").trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    "header",
    [
        "",
        None,
        7,
        b"00",
        "ff" + HEADER[2:],
        HEADER + "-more",
        HEADER + "\n",
        HEADER.upper(),
        HEADER.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        HEADER.replace("00f067aa0ba902b7", "0" * 16),
        HEADER[:-1],
        HEADER.replace("-01", "-0x"),
    ],
)
def test_what_is_not_valid_is_as_good_as_none(header):
    assert parse(header) is None


@given(st.text() | st.binary() | st.integers())
def test_nothing_from_outside_raises(header):
    assert parse(header) is None or isinstance(parse(header), TraceContext)


def test_a_child_stays_in_the_trace_with_a_span_of_its_own():
    parent = new_trace(sampled=False)
    child = parent.child()
    assert parse(child.header) == child
    assert child.trace_id == parent.trace_id
    assert child.span_id != parent.span_id
    assert child.sampled is False


def test_the_header_to_send_on():
    assert child_header("") == child_header("nonsense") == ""
    assert child_header(HEADER).startswith(HEADER[:36])
    assert child_header(HEADER) != HEADER


def test_traces_differ():
    assert len({new_trace().trace_id for _ in range(1000)}) == 1000
