"""What a log line shows: who speaks, no secrets, no line that a foreign message made up."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator

import pytest

from ion.base.errors import ConfigurationError
from ion.base.settings import LoggingSettings
from ion.observe.context import CallContext, current_call, current_container
from ion.observe.logging import checked_level, context, set_level, set_up


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    for name in ("aio_pika", "aiormq", "test.one", "test.two"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def call() -> Iterator[CallContext]:
    call = CallContext("box_1_ab.7", "box_1_ab-12", "hello", traceparent="00-aa-bb-01")
    token = current_call.set(call)
    yield call
    current_call.reset(token)


def test_a_text_line_says_when_who_and_what(stream, call):
    set_up(stream=stream)
    logging.getLogger("test.one").info("said %d", 5)
    when, rest = stream.getvalue().split(" ", 1)
    assert rest == "INFO    test.one [box_1_ab.7 hello box_1_ab-12] said 5\n"
    assert len(when) == len("2026-01-01T00:00:00.000Z")
    assert when.endswith("Z")


def test_a_json_line_is_one_object_with_the_context(stream, call):
    set_up(LoggingSettings(format="json"), stream)
    logging.getLogger("test.one").warning("two\nlines", extra={"count": 3, "thing": object()})
    [line] = stream.getvalue().splitlines()
    fields = json.loads(line)
    assert fields.pop("time").endswith("Z")
    assert fields.pop("thing").startswith("<object object")
    assert fields == {
        "level": "WARNING",
        "logger": "test.one",
        "message": "two\nlines",
        "container": "box_1_ab",
        "process": "box_1_ab.7",
        "op": "hello",
        "conversation": "box_1_ab-12",
        "trace": "00-aa-bb-01",
        "count": 3,
    }


def test_the_container_speaks_where_no_call_is_handled():
    assert context() == {}
    token = current_container.set("box_1_ab")
    assert context() == {"container": "box_1_ab"}
    current_container.reset(token)


@pytest.mark.parametrize("format", ["text", "json"])
def test_secrets_are_masked_on_every_path_into_a_record(stream, format):
    url = "amqp://guest:hunter2@host:5672/vhost"
    set_up(LoggingSettings(format=format), stream)
    log = logging.getLogger("test.one")
    log.info("to %s", url)
    log.info("extra", extra={"password": "hunter2", "broker": url, "nested": {"token": "hunter2"}})
    try:
        raise ConnectionError(f"cannot reach {url}")
    except ConnectionError:
        log.exception("failed")
    shown = stream.getvalue()
    assert "hunter2" not in shown
    assert shown.count("amqp://guest:***@host:5672/vhost") == 3


def test_a_message_cannot_begin_a_line_of_its_own(stream, call):
    call.op = "x\n2026 ERROR root forged"
    set_up(stream=stream)
    logging.getLogger("test.one").info("got %s", "a\n2026-01-01 ERROR root: forged\x1b[31m\x9b")
    [line] = stream.getvalue().splitlines()
    assert "\\n2026-01-01 ERROR" in line
    assert "\x1b" not in line
    assert "\x9b" not in line


def test_a_traceback_follows_its_line(stream):
    set_up(stream=stream)
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("test.one").exception("failed")
    lines = stream.getvalue().splitlines()
    assert lines[0].endswith("failed")
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == "ValueError: why"


def test_levels_of_single_loggers_and_of_noisy_libraries(stream):
    set_up(LoggingSettings(level="INFO", levels={"test.one": "DEBUG", "aiormq": "INFO"}), stream)
    logging.getLogger("test.one").debug("shown 1")
    logging.getLogger("test.two").debug("hidden")
    logging.getLogger("aio_pika.connection").warning("hidden")
    logging.getLogger("aiormq.connection").info("shown 2")
    said = [line.rsplit("  ", 1)[-1] for line in stream.getvalue().splitlines()]
    assert [line[-7:] for line in said] == ["shown 1", "shown 2"]


def test_where_no_logs_are_set_up_the_library_tells_errors_alone():
    code = """
import logging
from ion.observe.logging import hush_library
hush_library()
logging.getLogger("aiormq.channel").warning("hidden")
logging.getLogger("aiormq.channel").error("shown")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "shown\n"


def test_set_up_again_replaces_what_was_set_up(stream):
    set_up(LoggingSettings(levels={"test.one": "ERROR"}), io.StringIO())
    set_up(LoggingSettings(), stream)
    logging.getLogger("test.one").info("once")
    assert stream.getvalue().count("once") == 1


def test_a_wrong_format_or_level_changes_nothing(stream):
    set_up(stream=stream)
    with pytest.raises(ConfigurationError, match="no such log format: 'xml'"):
        set_up(LoggingSettings(format="xml"), io.StringIO())
    with pytest.raises(ConfigurationError, match="no such log level: 'LOUD'"):
        set_up(LoggingSettings(level="LOUD"), io.StringIO())
    logging.getLogger("test.one").info("still here")
    assert "still here" in stream.getvalue()


def test_the_level_can_be_changed_later(stream):
    set_up(stream=stream)
    set_level("debug", "test.two")
    logging.getLogger("test.two").debug("now")
    set_level("ERROR")
    logging.getLogger("test.one").warning("never")
    assert "now" in stream.getvalue()
    assert "never" not in stream.getvalue()
    assert checked_level("info") == "INFO"


def test_warnings_are_logged(stream):
    set_up(stream=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old way", DeprecationWarning, stacklevel=1)
    assert "old way" in stream.getvalue()


def test_standard_error_is_the_default():
    code = "import logging; from ion.observe.logging import set_up\n"
    code += "set_up(); logging.getLogger('a').info('x')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr.endswith("INFO    a x\n")
