"""The command line: what may be typed where, and what it comes to."""

from __future__ import annotations

import pytest

from ion.shell.commandline.options import RESERVED, START, parse

URL = "amqp://u:p@h:1/v"


def test_nothing_starts_an_empty_container():
    options = parse([])
    assert options.command == START
    assert list(options.start) == []
    assert options.brokers == []
    assert not options.no_shell


def test_start_words_and_options_in_any_order():
    options = parse(["hello.rel", "-n", "-s", "x", "other.app", "-b", URL, "-b", "memory://"])
    assert list(options.start) == ["hello.rel", "other.app"]
    assert (options.sysname, options.brokers, options.no_shell) == ("x", [URL, "memory://"], True)


def test_all_options_of_a_start():
    words = (
        "-c a.yml -c b.yml -a k=v -a apparg_hello.x=1 --set store.url=memory:// --lockfile l "
        "--log-level DEBUG --log-format json --no-history x"
    )
    options = parse(words.split())
    assert options.config_files == ["a.yml", "b.yml"]
    assert options.args == ["k=v", "apparg_hello.x=1"]
    assert options.settings == ["store.url=memory://"]
    assert (options.lockfile, options.log_level, options.log_format) == ("l", "debug", "json")
    assert options.no_history


NEEDY = {"call", "send", "check", "attach", "spawn", "kill", "restart", "drain"}


@pytest.mark.parametrize("word", sorted(RESERVED - NEEDY))
def test_common_options_stand_before_or_after_the_word(word):
    before = parse(["-b", URL, "-s", "x", "--json", word])
    after = parse([word, "-b", URL, "-s", "x", "--json"])
    mixed = parse(["-sx", word, "--broker", URL, "--json"])
    assert before == after == mixed
    assert (before.command, before.brokers, before.sysname, before.json) == (word, [URL], "x", True)


@pytest.mark.parametrize("word", ["call", "send"])
def test_content_and_options_mix(word):
    options = parse(["-b", URL, word, "a.b", "--json", "k=v", "--timeout", "3", "n=-5"])
    assert (options.command, options.target, list(options.content)) == (
        word,
        "a.b",
        ["k=v", "n=-5"],
    )
    assert (options.timeout, options.json) == (3.0, True)


def test_a_negative_number_is_content():
    assert list(parse(["call", "a.b", "-5"]).content) == ["-5"]


def test_reserved_words_are_apps_with_their_suffix_or_after_another_app():
    assert list(parse(["ps.app"]).start) == ["ps.app"]
    assert list(parse(["hello", "ps"]).start) == ["hello", "ps"]
    assert list(parse(["./call"]).start) == ["./call"]


def test_a_value_that_is_a_reserved_word_is_a_value():
    options = parse(["-s", "call", "-nb", "send", "hello"])
    assert (options.command, options.sysname, options.brokers) == (START, "call", ["send"])
    assert list(options.start) == ["hello"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nonsense"], "--nonsense"),
        (["-n", "ps"], "-n"),
        (["call"], "SERVICE.OP"),
        (["check"], "FILE"),
        (["--log-level", "loud"], "loud"),
        (["ps", "--timeout", "soon"], "soon"),
        (["ps", "--timeout", "nan"], "nan"),
        (["-b"], "--broker"),
        (["ps", "extra"], "extra"),
        (["-s", "a.b", "ps"], "a.b"),
        (["-a", "bare"], "bare"),
        (["--set", "bare"], "bare"),
        (["call", "hello"], "SERVICE.OP"),
        (["call", "a.b", "bare"], "key=value"),
        (["--json"], "ioncc ps --json"),
        (["-n", "hello", "--json"], "ioncc ps --json"),
    ],
)
def test_usage_errors_exit_2_and_name_the_word(words, said, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(words)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["call", "--help"], ["ps", "-h"]])
def test_help_exits_0(words, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(words)
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "usage: ioncc" in shown
    if words[0] == "call":  # its own options come before those of all commands
        assert "  --progress" in shown.partition("options of all commands:")[0]


def test_version_exits_0(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(["-n", "--version"], lambda: "ioncc 1.2.3")
    assert caught.value.code == 0
    assert capsys.readouterr().out == "ioncc 1.2.3\n"


@pytest.mark.parametrize(
    ("words", "listen", "start"),
    [
        ("hello", None, ["hello"]),
        ("--listen", "127.0.0.1:0", []),
        ("--listen hello", "127.0.0.1:0", ["hello"]),
        ("hello --listen -n", "127.0.0.1:0", ["hello"]),
        ("--listen 127.0.0.1:5672 hello", "127.0.0.1:5672", ["hello"]),
        ("--listen :5672 hello", ":5672", ["hello"]),
        ("--listen [::1]:0 -n hello", "[::1]:0", ["hello"]),
        ("--listen ::1 hello", "::1", ["hello"]),
        ("--listen 5672 hello", "5672", ["hello"]),
        ("--listen cafe", "127.0.0.1:0", ["cafe"]),
        ("--listen ./a.b.c.d/x.app", "127.0.0.1:0", ["./a.b.c.d/x.app"]),
        ("--listen localhost hello", "localhost", ["hello"]),
        ("--listen=127.0.0.1 hello", "127.0.0.1", ["hello"]),
        ("--listen 0.0.0.0:1 hello", "0.0.0.0:1", ["hello"]),
    ],
)
def test_where_to_listen_may_be_left_out(words, listen, start):
    options = parse(words.split())
    assert (options.listen, list(options.start)) == (listen, start)


def test_only_a_start_listens(capsys):
    with pytest.raises(SystemExit):
        parse(["ps", "--listen"])
    assert "--listen" in capsys.readouterr().err
