"""Devices that send garbage, half lines, far too much, or nothing: the agent outlives them all."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from ion.services.instrument.nmea.framing import MAX_LINE
from ion.services.simulator.device import SimulatedDevice
from ion.services.simulator.model import FAULTS, Fault, Spell
from tests.services.instrument.conftest import SILENCE, Gps, streaming, until

FATAL = {  # what the device is lost by, and what the agent says then
    "half_lines": "no good line",
    "checksums": "no good line",
    "silence": "no good line",
    "close": "has closed",
    "refuse": "broke|has closed",
    "huge_lines": "no good line",
}
HARMLESS = ("garbage", "flood", "drip")


def test_each_fault_is_tried() -> None:
    assert sorted([*FATAL, *HARMLESS]) == sorted(FAULTS)


@pytest.mark.parametrize("fault", FATAL)
async def test_a_device_that_is_no_good_is_lost_and_comes_back(gps: Gps, fault: Fault) -> None:
    reasons: list[str] = []
    agent = gps.process("InstrumentAgent")
    enter = agent._enter

    def seen(state: str, reason: str = "") -> None:
        reasons.append(reason)
        enter(state, reason)

    agent._enter = seen
    gps.talker.plan([Spell(fault, 0, 600)])
    await gps.at("LOST_CONNECTION")
    assert re.search(FATAL[fault], reasons[0]), reasons
    accepted = gps.talker.accepted
    if fault != "refuse":  # it goes on trying

        async def tried() -> bool:
            return gps.talker.accepted >= accepted + 2

        await until(tried)
    gps.talker.behave()
    await gps.at("STREAMING")
    await gps.more()


@pytest.mark.parametrize("fault", HARMLESS)
async def test_a_device_that_is_a_nuisance_is_borne(
    talker: SimulatedDevice, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    # a drip is slow, where the machine is, too
    async with streaming(talker, monkeypatch, silence=30.0) as gps:
        await _bear(gps, fault)


async def _bear(gps: Gps, fault: Fault) -> None:
    gps.talker.plan([Spell(fault, 0, 600)])
    await gps.more(3)
    if fault == "flood":
        driver = gps.process("NmeaDriver")

        async def dropped() -> bool:
            return bool((await gps.status()).device["dropped"])

        await until(dropped)
        assert driver._link._lines.held <= MAX_LINE
        assert len(driver.batches._samples) < 2000
    status = await gps.status()
    assert (status.state, status.losses) == ("STREAMING", 0)


async def test_a_device_that_was_told_to_say_little_is_not_gone(gps: Gps) -> None:
    await gps.client.set({"rate": 2})  # a fix each half a second, and 0.3 s are its silence
    await gps.more(3)
    assert (await gps.status()).losses == 0
    await gps.client.execute("reset")
    assert gps.process("NmeaDriver")._link.silence == SILENCE


async def test_a_device_that_sends_no_checksums(gps: Gps, monkeypatch: pytest.MonkeyPatch) -> None:
    send = gps.talker._send

    async def bare(writer: asyncio.StreamWriter, data: bytes) -> None:
        await send(writer, re.sub(rb"\*[0-9A-F]{2}", b"", data))

    monkeypatch.setattr(gps.talker, "_send", bare)
    reasons: list[str] = []
    agent = gps.process("InstrumentAgent")
    enter = agent._enter
    agent._enter = lambda state, reason="": (reasons.append(reason), enter(state, reason))
    await gps.at("LOST_CONNECTION")
    assert re.search(r"no good line .*\(\d+ lines without a checksum: device: \{ch", reasons[0])
    async with streaming(gps.talker, monkeypatch, checksum="optional") as other:
        assert (await other.client.set({"rate": 20.0}))["rate"] == 20.0  # answers have none, too
        await other.more()
        assert (await other.status()).device["bad"] == 0
    with pytest.raises(Exception, match="checksum is required or optional, not 'sometimes'"):
        async with streaming(gps.talker, monkeypatch, checksum="sometimes"):
            pass


async def test_what_was_bad_is_counted(gps: Gps) -> None:
    gps.talker.plan([Spell("checksums", 0, 600)])
    await gps.at("LOST_CONNECTION")
    assert (await gps.status()).device["bad"] > 0
    gps.talker.behave()
    gps.talker.plan([Spell("huge_lines", 0, 600)])

    async def counted() -> bool:
        return bool((await gps.status()).device["overlong"])

    await until(counted)


async def test_a_command_that_the_device_does_not_answer_fails(gps: Gps) -> None:
    gps.process("NmeaDriver").settings["answer_timeout"] = 0.1
    with pytest.raises(Exception, match="cannot hold") as raised:
        await gps.client.set({"sentences": "GGA*RMC"})
    assert raised.value.type == "Wrong"  # type: ignore[attr-defined]
    assert not gps.process("NmeaDriver")._answers._owed  # it was not asked: no answer is late
    gps.talker._answer = lambda line: None  # type: ignore[method-assign]
    with pytest.raises(Exception, match="does not answer RATE") as raised:
        await gps.client.set({"rate": 5})
    assert raised.value.type == "DeviceError"  # type: ignore[attr-defined]
    gps.talker._answer = lambda line: b"$PION,ERROR,CHECKSUM*4D\r\n"  # type: ignore[method-assign]
    with pytest.raises(Exception, match="says no to RATE"):
        await gps.client.set({"rate": 5})
    assert (await gps.status()).state == "STREAMING"


async def test_an_answer_that_comes_too_late_is_not_that_of_the_next_command(gps: Gps) -> None:
    settings = gps.process("NmeaDriver").settings
    answer, late = gps.talker._answer, list[bytes]()

    def keep(line: bytes) -> None:
        late.append(answer(line) or b"")

    def overtaken(line: bytes) -> bytes:
        return late.pop() + (answer(line) or b"") if late else answer(line) or b""

    settings["answer_timeout"] = 0.1
    gps.talker._answer = keep  # type: ignore[method-assign]
    with pytest.raises(Exception, match="does not answer RATE"):
        await gps.client.set({"rate": 20})
    settings["answer_timeout"] = 10
    gps.talker._answer = overtaken  # type: ignore[method-assign, assignment]
    assert await gps.client.set({"rate": 10}) == {"rate": 10}
    assert await gps.client.get(["rate"]) == {"rate": 10}


async def test_nobody_waits_on_a_device_that_goes_away_in_mid_command(gps: Gps) -> None:
    def gone(line: bytes) -> Any:
        for writer in list(gps.talker._writers):
            writer.transport.abort()

    gps.talker._answer = gone  # type: ignore[method-assign]
    gps.process("NmeaDriver").settings["answer_timeout"] = 600
    async with asyncio.timeout(10):
        with pytest.raises(Exception, match="the device is gone") as raised:
            await gps.client.set({"rate": 5})
    assert raised.value.type == "DeviceError"  # type: ignore[attr-defined]
    await gps.at("STREAMING")
