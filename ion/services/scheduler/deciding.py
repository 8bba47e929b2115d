"""What becomes of a task that is looked at: pure functions of what is kept of it, and of a time.

They return what is to be kept instead, and what is to be done once that is committed. A due time
that fires is taken out of the task in the same step, so that who commits it is the one who fires.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ion.services.scheduler import times
from ion.services.scheduler.model import Firing, Kept, Outcome, firing_id

MARGIN = 5.0  # seconds beyond its timeout after which a running call is lost
MAX_TRIES = 5
PAUSE, MAX_PAUSE = 1.0, 30.0  # seconds until a task in trouble is tried again
MAX_RESULT = 1024  # bytes of a result, or of an error's details, that are remembered
LOST = "CallLost"
_size = msgspec.msgpack.Encoder(enc_hook=repr)


class Move(msgspec.Struct, frozen=True):
    """What is done next with a task.

    :ivar kept: what is to be kept of it from now on.
    :ivar post: a firing whose event or message goes out with the commit.
    :ivar call: a firing whose call begins after the commit.
    """

    kept: Kept
    post: Firing | None = None
    call: Firing | None = None


def look_at(kept: Kept) -> float | None:
    """Return when a task is to be looked at; None: not before somebody changes it."""
    task = kept.task
    if task.running is not None:
        if task.target.overlap == "queue" or task.state != "active" or task.due is None:
            return kept.until
        return min(kept.until, max(_time(kept, task.due), kept.wait))
    if task.state != "active" or task.due is None:
        return None
    return max(_time(kept, task.due), kept.wait)


def look(kept: Kept, now: float, *, alive: bool = False) -> Move | None:
    """Return what is to be done with a task now; None: nothing.

    :param alive: its call goes on, as is known here, however late it seems to be.
    """
    time = look_at(kept)
    if time is None or time > now:
        return None
    kept = _copy(kept)
    running = kept.task.running
    if running is None:
        return _fired(kept, now)
    if kept.until > now:
        return _overlapped(kept, running, now)
    if alive:  # the clock was set forward
        kept.until = now + kept.task.target.timeout + MARGIN
        return Move(kept)
    return lost(kept, now)


def _time(kept: Kept, due: float) -> float:
    schedule = kept.task.schedule
    if not schedule.jitter:
        return due
    return due + times.delay(schedule, firing_id(kept.task.id, due))


def _fired(kept: Kept, now: float) -> Move:
    """Fire a task that is due, or drop what was missed."""
    fire = _take(kept, now)
    if kept.task.due is not None and _time(kept, kept.task.due) <= now:
        kept.wait = now  # it is behind, and takes turns with all that are due
    if fire is None:
        _end_if_over(kept, now)
        return Move(kept)
    return _begin(kept, fire, now)


def _take(kept: Kept, now: float) -> Firing | None:
    """Take the due times that are over out of a task; return the firing that they make."""
    task = kept.task
    assert task.due is not None
    _out_of_trouble(kept)
    step = times.step(task.schedule, task.due, now)
    task.missed += step.missed
    task.due = step.next
    if step.fire is None:
        return None
    name = firing_id(task.id, step.fire)
    return Firing(id=name, due=step.fire, at=now, outcome="fired", missed=step.missed)


def _begin(kept: Kept, firing: Firing, now: float) -> Move:
    task = kept.task
    task.fired += 1
    if task.target.kind == "call":
        firing.outcome = "running"
        task.running = firing
        kept.until = now + task.target.timeout + MARGIN
        return Move(kept, call=firing)
    _remember(kept, firing)
    _end_if_over(kept, now)
    return Move(kept, post=firing)


def _overlapped(kept: Kept, running: Firing, now: float) -> Move:
    """Skip what is due while the call before goes on."""
    firing = _take(kept, now)
    if firing is not None:
        firing.outcome = "skipped"
        firing.error = {"type": "Overlap", "message": f"{running.id} goes on"}
        kept.task.missed += 1
        _remember(kept, firing)
    return Move(kept)


def lost(kept: Kept, now: float) -> Move:
    """Begin a call again of which nobody told the end; some times, it may be what kills them."""
    kept = _copy(kept)
    running = kept.task.running
    assert running is not None
    if running.tries >= MAX_TRIES:
        message = f"begun {running.tries} times, and nobody told its end"
        error = {"code": 500, "type": LOST, "message": message}
        return Move(ended(kept, running.id, now, error=error))
    running.tries += 1
    kept.until = now + kept.task.target.timeout + MARGIN
    return Move(kept, call=running)


def ended(
    kept: Kept,
    firing: str,
    now: float,
    *,
    result: Any = None,
    error: dict[str, Any] | None = None,
) -> Kept:
    """Return what is kept of a task whose call has ended; nothing changes where it did before."""
    kept = _copy(kept)
    running = kept.task.running
    if running is None or running.id != firing:
        return kept
    outcome: Outcome = "done" if error is None else "failed"
    running.outcome, running.ended = outcome, now
    running.result, running.error = _bounded(result), _brief(error)
    kept.task.running = None
    _remember(kept, running)
    _end_if_over(kept, now)
    return kept


def spoiled(kept: Kept, now: float, error: dict[str, Any]) -> Kept:
    """Return what is kept of a task that cannot fire: its firing has failed, and it goes on."""
    move = look(kept, now)
    if move is None:
        return kept
    after, firing = move.kept, move.post
    if firing is not None:
        remembered = after.history[-1]
        remembered.outcome, remembered.error = "failed", _brief(error)
        after.task.last = remembered
    return after


def held(kept: Kept, now: float, error: dict[str, Any]) -> Move | None:
    """Return what is kept of a task that is due, and whose receiver is not there.

    It is tried again, a little later each time; what is over meanwhile was missed, as if nobody had
    been here to look at it.
    """
    move = look(kept, now)
    if move is None:
        return None
    due = kept.task.due
    assert due is not None
    error = _brief(error) or {}
    if move.post is None:  # it skips what was missed
        move.kept.task.trouble = error
        return move
    kept = _copy(kept)
    kept.task.trouble = error
    kept.wait = now + min(max((now - due) / 4, PAUSE), MAX_PAUSE)
    last = kept.task.last
    name = firing_id(kept.task.id, due)
    if last is None or last.id != name:
        _remember(kept, Firing(id=name, due=due, at=now, outcome="failed", error=error))
    return Move(kept)


def stuck(kept: Kept, now: float, error: dict[str, Any]) -> Move:
    """Return what is kept of a task of which it cannot be told here what is due; it waits."""
    kept = _copy(kept)
    late = now - kept.task.due if kept.task.due is not None else 0.0
    kept.task.trouble = _brief(error)
    kept.wait = now + min(max(late / 4, PAUSE), MAX_PAUSE)
    return Move(kept)


def by_hand(kept: Kept, name: str, now: float) -> Move:
    """Fire a task now, whatever its due times; they stay as they are."""
    kept = _copy(kept)
    _out_of_trouble(kept)
    return _begin(kept, Firing(id=name, due=now, at=now, outcome="fired"), now)


def paused(kept: Kept) -> Kept:
    """Return what is kept of a task that fires no more for now; a call of it goes on."""
    kept = _copy(kept)
    if kept.task.state == "active":
        kept.task.state = "paused"
    return kept


def resumed(kept: Kept, now: float) -> Kept:
    """Return what is kept of a task that fires again; what was due meanwhile is not made up for."""
    kept = _copy(kept)
    task = kept.task
    if task.state != "paused":
        return kept
    task.state = "active"
    _out_of_trouble(kept)
    if task.due is not None and task.due <= now and task.schedule.at is None:
        task.due = times.after(task.schedule, now)
    _end_if_over(kept, now)
    return kept


def _copy(kept: Kept) -> Kept:
    """Return a copy of what may be changed; lists and schedules are replaced as a whole."""
    running = kept.task.running
    running = msgspec.structs.replace(running) if running is not None else None
    return msgspec.structs.replace(kept, task=msgspec.structs.replace(kept.task, running=running))


def _out_of_trouble(kept: Kept) -> None:
    kept.task.trouble, kept.wait = None, 0.0


def _end_if_over(kept: Kept, now: float) -> None:
    task = kept.task
    if task.due is None and task.running is None and task.state == "active":
        task.state = "done"
        kept.ended = now


def _remember(kept: Kept, firing: Firing) -> None:
    kept.history = [*kept.history, firing][-kept.keep :]
    kept.task.last = firing


def _brief(error: dict[str, Any] | None) -> dict[str, Any] | None:
    if error is None or _bounded(error) is not None:
        return error
    return {**error, "message": str(error.get("message", ""))[:MAX_RESULT], "details": {}}


def _bounded(result: Any) -> Any:
    """Return what is remembered of a result: itself, or None where it is large."""
    return result if len(_size.encode(result)) <= MAX_RESULT else None
