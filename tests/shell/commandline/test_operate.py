"""What may be typed after the words that watch and steer a running system."""

from __future__ import annotations

import pytest

from ion.shell.commandline.options import parse


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("top", {"node": "all", "every": 2.0, "count": None}),
        ("top lab --every 0.5 --count 3 --json", {"node": "lab", "every": 0.5, "count": 3}),
        ("tail", {"node": "all", "level": "", "lines": 10, "follow": True, "grep": ""}),
        ("tail -n 0 -f lab", {"node": "lab", "lines": 0, "follow": True}),
        ("tail --level ERROR --logger ion --grep x", {"level": "error", "logger": "ion"}),
        ("tail --no-follow --lines 1000", {"follow": False, "lines": 1000, "grep": ""}),
        (
            "spawn lab a.b:C x=1 --name n y=z",
            {"node": "lab", "subject": "a.b:C", "name": "n", "content": ["x=1", "y=z"]},
        ),
        ("kill lab.7", {"subject": "lab.7"}),
        ("restart hello", {"subject": "hello", "node": "all"}),
        ("restart hello --node lab", {"subject": "hello", "node": "lab"}),
        ("restart lab.7", {"subject": "lab.7"}),
        ("drain lab", {"node": "lab", "wait": True}),
        ("drain all --no-wait --timeout 3", {"node": "all", "wait": False, "timeout": 3.0}),
        ("loglevel", {"node": "all", "level": "", "logger": ""}),
        ("loglevel lab", {"node": "lab", "level": ""}),
        ("loglevel Debug", {"node": "all", "level": "debug"}),
        ("loglevel lab info --logger x", {"node": "lab", "level": "info", "logger": "x"}),
        ("-s sys -b amqp://h/ kill lab.7 --json", {"subject": "lab.7", "sysname": "sys"}),
    ],
)
def test_what_is_typed_is_what_is_meant(words, found):
    options = parse(words.split())
    assert {key: getattr(options, key) for key in found} == found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("top --every nan", "is no interval"),
        ("top --count 0", "is no number of samples"),
        ("tail -n -1", "is no number of records"),
        ("tail -n 1001", "is no number of records: give 0 to 1000"),
        ("tail --level loud", "invalid choice"),
        ("tail -f --no-follow", "not allowed with"),
        ("tail one two", "unrecognized arguments"),
        ("spawn lab", "PACKAGE.MODULE:CLASS"),
        ("spawn lab a.b.C", "write package.module:Class"),
        ("spawn lab a:B x", "key=value"),
        ("spawn lab a:B 7", "JSON object"),
        ("kill", "PID"),
        ("kill 7", "is no pid"),
        ("restart", "APP | PID"),
        ("drain", "NODE"),
        ("loglevel a b c", "takes NODE and LEVEL"),
        ("loglevel lab loud", "'loud' is no level"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(words, said, capsys):
    with pytest.raises(SystemExit) as leaving:
        parse(words.split())
    assert leaving.value.code == 2
    assert said in capsys.readouterr().err
