"""`ioncc config` and `ioncc check`: nothing is started, everything is told."""

from __future__ import annotations

import json


def test_config_shows_values_and_origins(ioncc):
    (ioncc.folder / "ionlocal.yml").write_text("messaging:\n  rpc_timeout: 3.5\n")
    ioncc.env["ION_BROKER"] = "amqp://me:hidden@h/v"
    result = ioncc.run("config", "-s", "mine")
    assert result.returncode == 0
    assert "hidden" not in result.stdout
    lines = {line.split()[0]: line.split(maxsplit=2)[1:] for line in result.stdout.splitlines()}
    assert lines["messaging.rpc_timeout"] == ["3.5", "ionlocal.yml:2"]
    assert lines["broker.url"] == ['"amqp://me:***@h/v"', "environment ION_BROKER"]
    assert lines["container.sysname"] == ['"mine"', "option --sysname"]
    as_json = json.loads(ioncc.run("config", "--json").stdout)
    assert as_json["messaging.rpc_timeout"] == {"value": 3.5, "origin": "ionlocal.yml:2"}


def test_config_explains_one_key(ioncc):
    (ioncc.folder / "a.yml").write_text("broker:\n  url: amqp://a/\n")
    words = ["config", "--explain", "broker.url", "-c", "a.yml", "-b", "amqp://b/"]
    result = ioncc.run(*words)
    assert result.stdout.splitlines()[:3] == [
        'broker.url = "amqp://b/"',
        "  from option --broker",
        '  over "amqp://a/" from a.yml:2',
    ]
    told = json.loads(ioncc.run(*words, "--json").stdout)
    assert told["overridden"][0] == {"value": "amqp://a/", "origin": "a.yml:2"}


def test_config_that_is_wrong_exits_2_and_says_where(ioncc):
    (ioncc.folder / "ionlocal.yml").write_text("brocker: {}\n")
    result = ioncc.run("config")
    assert result.returncode == 2
    assert "ionlocal.yml:1" in result.stderr
    assert ioncc.run("config", "--explain", "no.such").returncode == 2


def test_check_of_good_files_exits_0(ioncc):
    ioncc.app("noting")
    result = ioncc.run("check", "noting.app")
    assert (result.returncode, result.stdout) == (0, "1 file, 0 errors, 0 warnings\n")
    assert json.loads(ioncc.run("check", "--json", "noting.app").stdout) == []
    assert ioncc.notes() == []


def test_check_names_file_line_key_and_severity(ioncc):
    ioncc.app("noting")
    (ioncc.folder / "bad.app").write_text("type: application\nname: bad\nmode: x:Y\n")
    (ioncc.folder / "bad.yml").write_text("broker:\n  heartbeat: soon\n")
    result = ioncc.run("check", "--json", "noting.app", "bad.app", "bad.yml", "missing.rel")
    assert result.returncode == 1
    found = json.loads(result.stdout)
    assert all(list(f) == ["file", "line", "key", "severity", "message"] for f in found)
    places = {(f["file"], f["line"], f["key"]) for f in found if f["severity"] == "error"}
    assert {("bad.app", 3, "mode"), ("bad.yml", 2, "broker.heartbeat")} <= places
    assert "missing.rel" in {f["file"] for f in found}
    text = ioncc.run("check", "bad.app")
    assert text.returncode == 1
    assert "error: bad.app:3: mode: " in text.stdout


def test_a_url_that_cannot_be_used_is_told_with_its_place(ioncc):
    (ioncc.folder / "ionlocal.yml").write_text("store:\n  url: sqlit:///x\nbroker.url: amqp://\n")
    no_store = "ionlocal.yml:2: store.url: the store URL has no known scheme (found 'sqlit'; known:"
    no_broker = "ionlocal.yml:3: broker.url: a broker URL is not of the form amqp[s]://"
    ioncc.app("noting")
    for words in (["ionlocal.yml"], ["noting.app"], ["--plan", "noting.app"]):
        done = ioncc.run("check", *words)
        assert (done.returncode, done.stdout.count("error: ")) == (1, 2), done
        assert f"error: {no_store}" in done.stdout
        assert f"error: {no_broker}" in done.stdout
    done = ioncc.run("config", "--json")
    assert (done.returncode, json.loads(done.stdout)["store.url"]["value"]) == (2, "sqlit:///x")
    assert no_store in done.stderr
    assert no_broker in done.stderr
    assert no_broker in ioncc.run("config", "--explain", "broker.url").stderr
    assert ioncc.run("config", "--explain", "messaging.trace").returncode == 0
    for words in (["ps"], ["-n", "noting.app"]):
        assert no_broker in ioncc.run(*words).stderr


def test_a_url_of_a_variable_or_an_option(ioncc):
    ioncc.env["ION_BROKER"] = "ampq://me:hidden@h/v"
    ioncc.app("noting")
    said = "environment ION_BROKER: broker.url: the broker URL has no known scheme (found 'ampq'"
    for words, code in ((["config"], 2), (["check", "noting.app"], 1)):
        done = ioncc.run(*words)
        told = done.stdout + done.stderr
        assert (done.returncode, said in told, "hidden" in told) == (code, True, False), told
        assert ioncc.run(*words, "-b", "memory://").returncode == 0
        assert "option --broker: broker.url" in str(ioncc.run(*words, "-b", "memory://a/b"))
