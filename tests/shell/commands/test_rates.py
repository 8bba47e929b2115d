"""Rates from two looks at the numbers of a system."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ion.shell.commands.rates import sample
from ion.shell.commands.top import lines_of


def stats(id="lab_1", uptime=10.0, **own):
    return {"container": id, "uptime": uptime, "processes": [], "services": [], **own}


def process(pid, handled=0, failed=0, waiting=0):
    return {"pid": pid, "name": pid, "handled": handled, "failed": failed, "waiting": waiting}


def service(name, handled=0, failed=0, instances=1, in_flight=0):
    return {
        "name": name,
        "version": "1.0",
        "handled": handled,
        "failed": failed,
        "instances": instances,
        "in_flight": in_flight,
    }


def test_a_container_by_its_own_clock():
    before = stats(cpu=1.0, messages_in=100, messages_out=10)
    after = stats(uptime=12.0, cpu=2.0, messages_in=300, messages_out=11, rss=5, calls_open=3)
    (row,) = sample([before], [after], 0.0, 1.0).containers
    assert (row["cpu_percent"], row["in_per_s"], row["out_per_s"]) == (50.0, 100.0, 0.5)
    assert (row["rss"], row["calls_open"]) == (5, 3)


def test_one_look_gives_no_rates():
    now = stats(processes=[process("lab_1.1", 5)], services=[service("a", 5)])
    found = sample([], [now], 0.0, 0.0)
    assert found.containers[0]["in_per_s"] is None
    assert found.processes[0]["handled_per_s"] is None
    assert found.services[0]["handled_per_s"] is None
    assert "-" in "\n".join(lines_of(found, 5))


def test_a_container_that_was_started_anew_has_no_rates_yet():
    found = sample([stats(messages_in=100)], [stats(uptime=1.0, messages_in=5)], 0.0, 1.0)
    assert found.containers[0]["in_per_s"] is None


def test_one_that_came_meanwhile_has_done_all_that_it_has():
    before, after = stats(), stats(uptime=12.0, processes=[process("lab_1.1", 8, 2)])
    (row,) = sample([before], [after], 0.0, 2.0).processes
    assert (row["handled_per_s"], row["failed_per_s"]) == (4.0, 1.0)


def test_the_busiest_come_first():
    before = stats(processes=[process(f"lab_1.{n}") for n in range(3)])
    after = stats(
        uptime=11.0,
        processes=[process("lab_1.0"), process("lab_1.1", waiting=4), process("lab_1.2", 7)],
    )
    found = sample([before], [after], 0.0, 1.0).processes
    assert [row["pid"] for row in found] == ["lab_1.2", "lab_1.1", "lab_1.0"]


def test_a_service_is_the_sum_of_its_containers():
    before = [stats(i, services=[service("a", 1)]) for i in ("lab_1", "lab_2")]
    after = [
        stats("lab_1", 11.0, services=[service("a", 11, 1, in_flight=2)]),
        stats("lab_2", 12.0, services=[service("a", 11, instances=3)]),
        stats("lab_3", 1.0, services=[service("a", 100)]),
    ]
    (row,) = sample(before, after, 0.0, 1.0).services
    assert row == {
        "name": "a",
        "version": "1.0",
        "instances": 5,
        "in_flight": 2,
        "handled": 122,
        "failed": 1,
        "handled_per_s": 15.0,
        "failed_per_s": 1.0,
    }


def test_an_answer_of_another_release_counts_as_nothing():
    odd = {"container": "old", "uptime": None, "cpu": "much", "processes": [{"pid": "old.1"}]}
    found = sample([odd], [odd], 0.0, 1.0)
    assert found.containers[0]["cpu_percent"] is None
    assert found.processes[0]["pid"] == "old.1"
    assert lines_of(found, 5)
    odd["processes"] = odd["services"] = [None, 3]
    assert sample([odd], [{**odd, "processes": None}], 0.0, 1.0).processes == []


counts = st.integers(0, 10_000)


@given(st.lists(st.tuples(counts, counts, st.floats(0, 1e6)), min_size=2, max_size=2))
def test_no_rate_is_below_zero(looks):
    before, after = (
        stats(uptime=up, messages_in=n, cpu=n, processes=[process("lab_1.1", n, m)])
        for n, m, up in looks
    )
    found = sample([before], [after], 0.0, 1.0)
    for row in found.containers + found.processes:
        assert all(v is None or v >= 0 for k, v in row.items() if k.endswith("_per_s"))


def test_rows_are_cut_to_what_fits():
    after = stats(processes=[process(f"lab_1.{n}", n) for n in range(50)])
    lines = lines_of(sample([], [after], 0.0, 1.0), 4)
    assert sum("lab_1." in line for line in lines) == 4
