"""The pure parts of agents: states, sessions, lines, sentences, batches, and the device's noise."""

from __future__ import annotations

import asyncio
import contextlib
import math
import struct
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ion.services.instrument import machine
from ion.services.instrument.batching import MOST, Batcher
from ion.services.instrument.machine import AGENT, STATES, way
from ion.services.instrument.model import NoSession, SessionHeld, Wrong, WrongState
from ion.services.instrument.nmea.driver import SETTLED, NmeaDriver
from ion.services.instrument.nmea.framing import MAX_LINE, LineFramer
from ion.services.instrument.nmea.sentences import BadSentence, Epochs, Parser, sentence
from ion.services.instrument.session import Held, Sessions, Waiter
from ion.services.simulator.faults import FaultPlan
from ion.services.simulator.model import Spell, UnknownFault
from ion.services.simulator.track import Track

NOW = datetime(2026, 5, 17, 12, 0, tzinfo=UTC)


# states


def test_each_state_is_reached_and_left_by_commands() -> None:
    for state in set(STATES) - {machine.LOST_CONNECTION}:
        assert AGENT.initial == machine.UNINITIALIZED
        assert way(machine.UNINITIALIZED, state) or state == machine.UNINITIALIZED
        assert way(state, machine.UNINITIALIZED) or state == machine.UNINITIALIZED
    assert way("INACTIVE", "STREAMING") == ["go_active", "run", "start_streaming"]
    assert way("STREAMING", "STOPPED") == ["stop_streaming", "pause"]
    assert way("LOST_CONNECTION", "INACTIVE") == ["go_inactive"]
    with pytest.raises(WrongState, match="no command leads"):
        way("STREAMING", "LOST_CONNECTION")
    with pytest.raises(WrongState, match="'run' is not allowed in STREAMING"):
        AGENT.next_state("STREAMING", "run")


def test_a_lost_line_comes_back_to_what_was_but_to_nobodys_direct_access() -> None:
    for state in machine.CONNECTED:
        assert AGENT.next_state(state, machine.LOSE) == "LOST_CONNECTION"
        back = machine.returns_to(state)
        assert back == ("COMMAND" if state == "DIRECT_ACCESS" else state)
        assert AGENT.next_state("LOST_CONNECTION", machine.BACK[back]) == back


# sessions


def held(found: Held | Waiter) -> Held:
    assert isinstance(found, Held)
    return found


def test_a_session_fences_who_has_none() -> None:
    sessions = Sessions()
    assert sessions.check(None, 0) is None  # nobody has one: anybody may
    ada = held(sessions.acquire("ada", 10, 0, now=0))
    assert sessions.check(ada.id, 9.9) is ada
    with pytest.raises(SessionHeld, match=r"ada has the session, for 1\.0 s") as raised:
        sessions.check(None, 9)
    assert raised.value.details == {"owner": "ada", "left": 1.0, "waiting": 0}
    with pytest.raises(NoSession):
        sessions.check("another", 9)
    sessions.renew(ada.id, 5, 9)
    assert sessions.check(ada.id, 13.9) is ada
    with pytest.raises(NoSession, match="over"):
        sessions.check(ada.id, 14)  # nothing that ada sends late does any harm
    assert sessions.check(None, 14) is None


def test_who_waits_comes_in_turn_and_who_is_gone_is_passed_over() -> None:
    sessions = Sessions()
    ada = held(sessions.acquire("ada", 10, 0, 0))
    waiters = [sessions.acquire(name, 5, 20 if name != "bob" else 3, 0) for name in ("bob", "eve")]
    late = sessions.acquire("dan", 5, 60, 1)
    assert sessions.next(9) is None
    found = sessions.next(10)  # bob has given up at 3
    assert found is not None
    assert found[0] is waiters[1]
    with pytest.raises(NoSession):
        sessions.release(ada.id, 11)
    assert isinstance(sessions.acquire("ada", 5, 1, 11), Waiter)  # behind dan
    sessions.release(found[1].id, 12)
    following = sessions.next(12)
    assert following is not None
    assert following[0] is late


@pytest.mark.parametrize(
    ("owner", "lease", "wait"),
    [
        ("", 5, 0),
        ("o" * 201, 5, 0),
        ("a\nb", 5, 0),
        ("x", 0.5, 0),
        ("x", 1801, 0),
        ("x", 5, -1),
        ("x", 5, 61),
        ("x", math.nan, 0),
    ],
)
def test_times_that_cannot_be(owner: str, lease: float, wait: float) -> None:
    with pytest.raises(Wrong):
        Sessions().acquire(owner, lease, wait, 0)


# lines and sentences


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=600), max_size=20))
def test_lines_are_the_same_however_they_are_cut(pieces: list[bytes]) -> None:
    whole = b"".join(pieces) + b"\n"
    at_once = LineFramer().feed(whole)
    lines = LineFramer()
    in_pieces = [line for piece in [*pieces, b"\n"] for line in lines.feed(piece)]
    assert in_pieces == at_once
    expected = [x for x in whole.replace(b"\r", b"\n").split(b"\n") if 0 < len(x) <= MAX_LINE]
    assert at_once == expected
    assert lines.held <= MAX_LINE


def test_a_line_without_end_takes_no_memory() -> None:
    lines = LineFramer()
    for _ in range(1000):
        assert lines.feed(b"A" * 4096) == []
        assert lines.held <= MAX_LINE
    assert lines.overlong == 1
    assert lines.feed(b"\r\n$X\r\n") == [b"$X"]


@given(st.binary(max_size=200))
def test_nothing_that_a_device_sends_is_more_than_a_bad_sentence(noise: bytes) -> None:
    parser, epochs = Parser(), Epochs()
    body = noise.replace(b"*", b"").replace(b"$", b"")
    check = 0
    for byte in b"GPGGA," + body:
        check ^= byte
    for line in (noise, b"$GPGGA,%b*%02X" % (body, check)):
        with contextlib.suppress(BadSentence):
            epochs.add(parser.parse(line), NOW)


@pytest.mark.parametrize("words", ["GPGGA", "GPRMC,123519", "GPRMC,123519,A,4807.038,N,01131.0,E"])
def test_a_sentence_that_ends_early_is_none_or_says_less(words: str) -> None:
    with contextlib.suppress(BadSentence):
        Epochs().add(Parser().parse(sentence(*words.split(",")).strip()), NOW)


async def test_an_answer_is_found_behind_noise() -> None:
    driver = NmeaDriver("agent", {"port": 1})
    await driver.on_init()
    for noise in (b"", b"$PION,RA", b"$PION,\xff"):
        answer = driver._answer = asyncio.get_running_loop().create_future()
        driver._answers.ask("RATE", "5")
        assert driver._take(noise + sentence("PION", "RATE", "5", "OK").strip())
        assert answer.result() == ["5", "OK"]


def test_sentences_of_one_moment_are_one_sample() -> None:
    parser, epochs, track = Parser(), Epochs(), Track()
    moments = [NOW.timestamp() + n for n in range(3)]
    samples = []
    for moment in moments:
        fix = track.at(moment)
        for line in (fix.gga(), b"noise" + fix.rmc(), fix.vtg()):
            found = epochs.add(parser.parse(line.strip()), NOW)
            samples += [found] if found else []
    assert [sample["time"] for sample in samples] == moments
    fix = track.at(moments[2])
    assert samples[2]["lat"] == pytest.approx(fix.lat, abs=1e-6)
    assert samples[2]["lon"] == pytest.approx(fix.lon, abs=1e-6)
    assert samples[2]["speed"] == pytest.approx(fix.speed, abs=0.01)
    assert samples[2]["course"] == pytest.approx(fix.course, abs=0.1)


def test_a_sample_of_which_half_was_lost_is_told_with_holes() -> None:
    parser, epochs, track = Parser(), Epochs(), Track()
    midnight = datetime(2026, 5, 18, tzinfo=UTC)
    first, second = midnight.timestamp() - 1, midnight.timestamp() + 1
    assert epochs.add(parser.parse(track.at(first).gga().strip()), midnight) is None
    sample = epochs.add(parser.parse(track.at(second).gga().strip()), midnight)
    assert sample is not None
    assert sample["time"] == first  # of the day before, though the clock is past midnight
    assert math.isnan(sample["speed"])
    with pytest.raises(BadSentence, match="not on Earth"):
        epochs.add(
            parser.parse(sentence("GPGGA", "120000", "9900.0", "N", "00100.0", "E", "1").strip()),
            NOW,
        )
    void = sentence("GPRMC", "120001", "V", "4400.0", "N", "00100.0", "E", "1", "2", "170526")
    assert epochs.add(parser.parse(void.strip()), NOW) is not None  # the one before, not itself
    with pytest.raises(Wrong):
        sentence("PION", "RATE\r\n$GPGGA")


# batches


def test_a_batch_stays_the_same_until_it_is_confirmed() -> None:
    batcher = Batcher(("x",), count=2, seconds=1.0)
    assert batcher.due(0) is None
    assert batcher.take() is None
    batcher.add({"x": 1.5}, 10)
    assert batcher.due(10.25) == 0.75
    batcher.add({"x": 2.5}, 10)
    batcher.add({"x": 3.5}, 10)
    first = batcher.take()
    assert first is not None
    assert (first.number, first.count) == (1, 2)
    assert first.columns == {"x": struct.pack("<2d", 1.5, 2.5)}
    assert batcher.take() is first
    batcher.confirm()
    second = batcher.take()
    assert second is not None
    assert (second.number, second.count) == (2, 1)


def test_samples_that_nobody_takes_are_bounded() -> None:
    batcher = Batcher(("x",), count=100, seconds=1.0)
    for n in range(MOST + 5):
        batcher.add({"x": float(n)}, 0)
    assert batcher.dropped == 5
    batch = batcher.take()
    assert batch is not None
    assert struct.unpack("<d", batch.columns["x"][:8]) == (5.0,)


# faults


def test_spells_come_and_go() -> None:
    faults = FaultPlan()
    faults.plan([Spell("silence", 1, 2), Spell("garbage", 2, 5)], now=10)
    assert [faults.now(t) for t in (10, 11, 12.5, 13, 17)] == [
        set(),
        {"silence"},
        {"silence", "garbage"},
        {"garbage"},
        set(),
    ]
    assert faults.next_change(10) is None
    with pytest.raises(UnknownFault, match="known: garbage, half_lines"):
        faults.plan([Spell("rust")], 0)  # type: ignore[arg-type]


async def test_a_fix_of_one_sentence_does_not_wait_for_the_next() -> None:
    driver = NmeaDriver("agent", {"port": 1})
    await driver.on_init()
    driver.is_streaming = True
    told: list[tuple[str, Any]] = []

    async def tell(op: str, content: dict[str, Any]) -> bool:
        told.append((op, content))
        return True

    driver._tell = tell  # type: ignore[method-assign]
    assert driver._take(Track().at(NOW.timestamp()).gga().strip())
    await driver._rest()
    assert driver._last is None  # more may be said of it yet
    driver._said -= 2 * SETTLED
    await driver._rest()
    assert driver._last is not None
    await driver._rest()
    assert driver._take(Track().at(NOW.timestamp() + 1).gga().strip())
    await driver.lose("it was unplugged")
    assert [op for op, _ in told] == ["samples", "lost"]
    assert told[0][1]["batch"].count == 2
