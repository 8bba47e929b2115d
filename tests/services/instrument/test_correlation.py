"""Which answer is whose, of a device that answers late, or not at all."""

from __future__ import annotations

from ion.services.instrument.nmea.correlation import MOST, ReplyCorrelator

OK = "OK"


def given_up(name: str, value: str, answers: ReplyCorrelator | None = None) -> ReplyCorrelator:
    """Return the correlator of a device that has let a question wait for too long."""
    answers = answers or ReplyCorrelator()
    answers.ask(name, value)
    answers.end()
    return answers


def test_the_answer_to_what_is_asked_whatever_the_device_makes_of_it() -> None:
    answers = ReplyCorrelator()
    answers.ask("RATE", "0.3")
    assert answers.hear(["VERSION", "2", OK]) is None
    assert answers.hear(["RATE", "0.333", OK]) == ["0.333", OK]
    answers.end()
    assert answers.hear(["RATE", "0.333", OK]) is None
    answers.ask("RATE", "5")
    assert answers.hear(["ERROR", "CHECKSUM"]) == ["CHECKSUM"]


def test_a_late_answer_is_not_that_of_the_next_question() -> None:
    answers = given_up("RATE", "5")
    answers.ask("RATE", "7")
    assert answers.hear(["RATE", "5", OK]) is None
    assert answers.likely is None
    assert answers.hear(["RATE", "7", OK]) == ["7", OK]
    answers.end()
    answers.ask("RATE", "9")  # nothing is owed any more
    assert answers.hear(["RATE", "5", "ERROR"]) == ["5", "ERROR"]


def test_late_answers_before_that_of_what_is_only_asked_for() -> None:
    answers = given_up("RATE", "7", given_up("RATE", "5"))
    answers.ask("RATE", "")
    for late in ("5.0", "7"):
        assert answers.hear(["RATE", late, OK]) is None
    assert answers.likely == ["7", OK]  # where no more comes: one of the two was lost
    assert answers.hear(["RATE", "7", OK]) == ["7", OK]


def test_a_late_answer_between_two_questions_is_owed_no_more() -> None:
    answers = given_up("RATE", "")
    assert answers.hear(["RATE", "5", OK]) is None
    answers.ask("RATE", "")
    assert answers.hear(["RATE", "6", OK]) == ["6", OK]


def test_a_complaint_may_be_about_what_was_asked_before() -> None:
    answers = given_up("RATE", "5")
    answers.ask("SENTENCES", "GGA")
    assert answers.hear(["ERROR", "CHECKSUM"]) is None
    assert answers.likely == ["CHECKSUM"]
    assert answers.hear(["SENTENCES", "GGA", OK]) == ["GGA", OK]


def test_what_is_owed_is_bounded() -> None:
    answers = ReplyCorrelator()
    for n in range(3 * MOST):
        given_up("RATE", str(n), answers)
    assert len(answers._owed) == MOST
