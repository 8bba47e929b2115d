"""The key of a system: found, made once, and not taken from where others could read it."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ion import ConfigurationError, Container, Forbidden, Operator
from ion.base.settings import AgentSettings
from ion.process.command import key as keys
from ion.process.command.key import Unwritable

DIGITS = "0f" * 32


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the user's data folder, empty."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path / "ion"


def file_at(path: Path, text: str = DIGITS + "\n", mode: int = 0o600) -> AgentSettings:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return AgentSettings(key_file=str(path))


def test_it_is_made_once_for_this_user_alone(home: Path) -> None:
    assert keys.find(AgentSettings(), "lab") is None
    assert not home.exists()
    made = keys.find_or_make(AgentSettings(), "lab")
    assert keys.find(AgentSettings(), "lab") == made == keys.find_or_make(AgentSettings(), "lab")
    assert len(made.secret) == 32
    assert made.place == f"the key file {home / 'lab.key'}"
    assert [path.name for path in home.iterdir()] == ["lab.key"]
    assert stat.S_IMODE((home / "lab.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert re.fullmatch(r"[0-9a-f]{64}\n", (home / "lab.key").read_text())
    assert keys.find_or_make(AgentSettings(), "other") != made


def test_it_is_never_shown() -> None:
    key = keys.given(DIGITS)
    assert DIGITS not in repr(key) + str(key) + key.id
    assert str(key.secret) not in repr(key)


def test_of_many_who_make_it_at_once_all_have_the_same(home: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: keys.find_or_make(AgentSettings(), "lab"), range(64)))
    assert len({key.secret for key in made}) == 1
    assert [path.name for path in home.iterdir()] == ["lab.key"]


def test_a_file_of_one_s_own(tmp_path: Path) -> None:
    settings = file_at(tmp_path / "a" / "key", f"  {DIGITS.upper()}\n\n")
    assert keys.find(settings, "lab") == keys.find_or_make(settings, "other")
    made = keys.find_or_make(AgentSettings(key_file=str(tmp_path / "b" / "c" / "key")), "lab")
    assert (tmp_path / "b" / "c" / "key").read_text().strip() == made.secret.hex()


def test_settings_are_stronger_than_files(tmp_path: Path) -> None:
    settings = AgentSettings(key="ab" * 32, key_file=str(tmp_path / "none"))
    assert keys.find(settings, "lab") == keys.find_or_make(settings, "lab") == keys.given("ab" * 32)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601])
def test_a_file_that_is_open_to_others(tmp_path: Path, mode: int) -> None:
    settings = file_at(tmp_path / "key", mode=mode)
    for look in (keys.find, keys.find_or_make):
        with pytest.raises(ConfigurationError, match="chmod 600") as caught:
            look(settings, "lab")
        assert str(tmp_path / "key") in caught.value.message


@pytest.mark.parametrize(
    "text", ["", "\n", DIGITS[:-1], DIGITS + "0", DIGITS[:-1] + "g", "hunter2", "\0" * 64, "é" * 64]
)
def test_a_file_that_holds_no_key(tmp_path: Path, text: str) -> None:
    settings = file_at(tmp_path / "key", text)
    for look in (keys.find, keys.find_or_make):
        with pytest.raises(ConfigurationError, match="64 hexadecimal digits") as caught:
            look(settings, "lab")
        assert str(tmp_path / "key") in caught.value.message
        assert not text.strip() or text.strip() not in caught.value.message


def test_a_folder_and_a_pipe_in_its_place(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ConfigurationError, match="no file"):
            keys.find(AgentSettings(key_file=str(path)), "lab")


def test_a_link_to_it_will_do(tmp_path: Path) -> None:
    file_at(tmp_path / "key")
    (tmp_path / "link").symlink_to(tmp_path / "key")
    found = keys.find(AgentSettings(key_file=str(tmp_path / "link")), "lab")
    assert found is not None
    assert found.secret.hex() == DIGITS


def test_a_place_that_cannot_be_written(home: Path, tmp_path: Path) -> None:
    home.write_text("")  # a file where the folder is to be
    with pytest.raises(Unwritable, match=r"agent\.key_file"):
        keys.find_or_make(AgentSettings(), "lab")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        keys.find_or_make(AgentSettings(key_file=str(home / "key")), "lab")
    with pytest.raises(Unwritable, match=r"agent\.key_file") as caught:
        keys.find_or_make(AgentSettings(key_file="/proc/none/key"), "lab")
    assert "/proc/none/key" in caught.value.message


async def test_a_container_that_cannot_keep_its_key_runs_and_heeds_nobody(
    amqp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/proc/none")
    async with Container(amqp_url, sysname="keyless") as container:
        assert "nobody can command this container" in caplog.text
        assert "agent.key_file" in caplog.text
        assert (await Operator(container).info(container.id))["key"] is None
        with pytest.raises(Forbidden, match="has no key"):
            await Operator(container, key=DIGITS).drain(container.id)
        with pytest.raises(Forbidden, match="there is none at /proc/none"):
            await Operator(container).drain(container.id)


async def test_a_container_does_not_start_with_a_key_that_is_none(
    amqp_url: str, tmp_path: Path
) -> None:
    file_at(tmp_path / "key", mode=0o644)
    container = Container(amqp_url, config={"agent.key_file": str(tmp_path / "key")})
    with pytest.raises(ConfigurationError, match="chmod 600"):
        await container.start()
    with pytest.raises(ConfigurationError, match=r"agent\.key: must be text of the form") as caught:
        Container(amqp_url, config={"agent.key": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_a_private_bus_needs_no_key_and_leaves_no_file(tmp_path: Path) -> None:
    code = (
        "import asyncio, ion\n"
        "async def main():\n"
        "    async with ion.Container('memory://', sysname='lab') as c:\n"
        "        o = ion.Operator(c)\n"
        "        print((await o.info(c.id))['key'], await o.log_level(c.id, 'ERROR'))\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "data"), "HOME": str(tmp_path)}
    told = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert told.stdout == "None ERROR\n"
    assert list(tmp_path.iterdir()) == []
