"""The policy interceptor: it lets a message in, or refuses it with 403 Forbidden.

It is the last of the interceptors for what comes in, so that it decides what the op will see. It is
not run on answers: what one has asked for is not for others to forbid. It does no I/O, and fails
closed: whatever goes wrong in it, the message is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ion.base.errors import ApplicationError, Forbidden, IonError
from ion.messaging import codec
from ion.messaging.envelope import Envelope
from ion.observe.context import current_call
from ion.process.command.authorization import is_signed
from ion.process.command.signing import HEADER as SIGNATURE
from ion.process.events.event import path_in
from ion.process.events.ops import EventOp
from ion.process.events.topics import word
from ion.process.identity.identity import SYSTEM, SYSTEM_ROLE, Identity
from ion.process.ops import Op
from ion.process.policy.decision_log import DecisionLog
from ion.process.policy.decisions import Judge
from ion.process.policy.distribution import KEEPER, SERVICE
from ion.process.policy.facts import MessageFacts
from ion.process.policy.model import EVENT, NOBODY, Decision, Subject
from ion.process.policy.owners import Owners
from ion.process.process import Process
from ion.process.pubsub.topics import checked_topic
from ion.process.pubsub.verifying import verified_topic
from ion.process.serving.incoming import BINDING, IncomingCall
from ion.process.supervision import notice as hearing

log = logging.getLogger(__name__)
MAX_KNOWN = 10_000
SYSTEM_ISSUER = "ion"
_NO_ROLES: frozenset[str] = frozenset()
NO_OP = "<unknown op>"
_BY_KEY = frozenset({SERVICE, KEEPER})
Key = tuple[str, str, str, frozenset[str]]  # pid, op, actor, roles


class PolicyInterceptor:
    """Decides on each message that comes to a process of one container.

    :param judge: the rules; :meth:`use` takes others.
    :param processes: pid -> process.
    :ivar allowed: messages since it was last set to 0.
    :ivar hints: pid of a process whose events are not decided, as it believes none of them; or "".
    """

    only_requests = True

    def __init__(
        self,
        judge: Judge,
        processes: Mapping[str, Process],
        decision_log: DecisionLog,
        owners: Owners,
    ) -> None:
        self.judge = judge
        self.owners = owners
        self.decision_log = decision_log
        self.hints = ""
        self._processes = processes
        self.allowed = 0
        self._free: dict[Key, Decision] = {}

    def use(self, judge: Judge) -> None:
        """Decide by other rules from the next message on."""
        self.judge = judge
        self._free = {}

    def __call__(self, envelope: Envelope) -> Envelope:
        """Let a message pass.

        :raises Forbidden: it is not allowed; the message says why.
        """
        call = current_call.get()
        if call.__class__ is not IncomingCall or call.phase != BINDING:
            return envelope  # no message that begins anything: it was decided where that came
        identity = call.identity
        if identity is None:
            key = (call.process, envelope.op, "", _NO_ROLES)
        else:
            key = (call.process, envelope.op, identity.actor, identity.roles)
        decision = self._free.get(key)
        if decision is None or call.source.handler is not None:
            self._look(call, envelope, key)
        elif self.decision_log.is_verbose:
            action = f"{target_of(self._processes.get(call.process))}.{envelope.op}"
            self.decision_log.allow(subject_of(identity), action, decision)
        self.allowed += 1
        return envelope

    def _look(self, call: IncomingCall, envelope: Envelope, key: Key) -> None:
        """Decide on a message of a kind that is not known to be allowed whatever it says."""
        if call.source is hearing.NOTICES:
            return  # no message: the container tells of the end of a process
        action = "?"
        subject = NOBODY
        process = self._processes.get(call.process)
        try:
            subject = subject_of(call.identity)
            handler = call.source.handler
            if handler is not None:
                if call.process == self.hints:
                    return
                action, op = event_action(call, envelope, handler), None
            else:
                op = process.ops.get(envelope.op) if process is not None else None
                # an op that is not there may have any name: it must not fill what is remembered
                action = f"{target_of(process)}.{envelope.op if op is not None else NO_OP}"
            subject = self._subject(call, process, op, subject)
            facts = MessageFacts(envelope, op or handler, self.owners)
            decision = self.judge.decide(subject, action, facts)
            if op is not None and decision.is_free and subject.actor != SYSTEM:
                self._remember(key, op, decision)
        except IonError:
            raise
        except Exception as error:  # whatever it is, the message is refused
            log.exception("deciding on %s failed: it is refused", action)
            decision = Decision(allowed=False, reason=f"deciding failed: {type(error).__name__}")
        if not decision.allowed:
            self.decision_log.deny(subject, action, decision)
            raise refusal(subject, action, decision)
        if self.decision_log.is_verbose:
            self.decision_log.allow(subject, action, decision)

    def _remember(self, key: Key, op: Op, decision: Decision) -> None:
        """Keep what holds for all such messages, whatever they say."""
        may_be_signed = op.is_command or target_of(self._processes.get(key[0])) in _BY_KEY
        if may_be_signed or not decision.allowed:
            return
        if len(self._free) >= MAX_KNOWN:
            self._free.clear()
        self._free[key] = decision

    def _subject(
        self, call: IncomingCall, process: Process | None, op: Op | None, subject: Subject
    ) -> Subject:
        """Return the subject, as a keyholder where it has shown that it has the key.

        Commands are signed, and what containers tell each other; what looks after policy itself
        may be: who sets it up has nothing but the key.
        """
        by_key = op is not None and (op.is_command or target_of(process) in _BY_KEY)
        if not is_of_system(call.identity) and not is_signed_by_system(call, by_key=by_key):
            return subject
        fields = (subject.actor, subject.roles, subject.claims, subject.chain)
        return Subject(*fields, is_keyholder=True)


def is_of_system(identity: Identity | None) -> bool:
    """Tell whether a token is of the system itself: made with its key, for a container."""
    return (
        identity is not None
        and identity.actor == SYSTEM
        and identity.issuer == SYSTEM_ISSUER
        and SYSTEM_ROLE in identity.roles
        and not identity.chain
    )


def is_signed_by_system(call: IncomingCall, *, by_key: bool) -> bool:
    """Tell whether a message is signed with the key of the system.

    On a bus that nobody else can reach there is no key: there, what asks for one and has no token
    counts as signed.

    :param by_key: whether it asks for one.
    """
    permission, identity = call.endpoint.permission, call.identity
    if permission is not None and permission.is_open:
        return by_key and (identity is None or identity.actor == SYSTEM)
    return SIGNATURE in call.envelope.headers and is_signed()


def demand_rule() -> None:
    """Check that a rule, or the key of the system, allows what is being handled: no default does.

    :raises ApplicationError: 403 Forbidden, neither does.
    """
    call = current_call.get()
    if not isinstance(call, IncomingCall):
        return  # nobody's message
    if is_of_system(call.identity) or is_signed_by_system(call, by_key=True):
        return
    subject, action = subject_of(call.identity), f"{SERVICE}.{call.op}"
    facts = MessageFacts(call.envelope, None, Owners())
    for interceptor in [
        each for each in call.endpoint.inbound if isinstance(each, PolicyInterceptor)
    ]:
        decision = interceptor.judge.decide(subject, action, facts)
        if decision.allowed and decision.rule:
            return
    message = f"{action} needs a rule that allows it, or the key of the system"
    details = {"action": action, "rule": None}
    raise ApplicationError(message, code=403, type="Forbidden", details=details)


def target_of(process: Process | None) -> str:
    """Return what rules call a process by: its service, or else its name."""
    return getattr(process, "service_name", "") or getattr(process, "name", "")


def subject_of(identity: Identity | None) -> Subject:
    """Return who an identity is to the rules."""
    if identity is None:
        return NOBODY
    return Subject(identity.actor, identity.roles, identity.claims, identity.chain)


def event_action(call: IncomingCall, envelope: Envelope, handler: Any) -> str:
    """Return the action of an event, as its handler will believe it to be.

    Topic and point are what the sender and the subscriber say; of a typed event the content is
    believed, and so it decides.

    :raises BadRequest: it is no event, or none that the subscription is for.
    """
    if not isinstance(handler, EventOp):
        return f"{EVENT}{call.source.point}/{verified_topic(call)}"
    content = codec.decode(envelope.body, envelope.content_type)
    path = path_in(content)
    names = ("sub_type", "origin_type", "origin")
    texts = [word(text) if isinstance(text := content.get(n, ""), str) else "_" for n in names]
    return f"{EVENT}{call.source.point}/{checked_topic('.'.join((path, *texts)))}"


def refusal(subject: Subject, action: str, decision: Decision) -> Forbidden:
    """Return the error for what is denied: the rule, what it takes, and what the sender has.

    Nothing of other actors is in it: neither who owns what, nor whom a rule names.
    """
    who = " for ".join((*subject.chain, subject.actor)) if subject.actor else "anonymous"
    has = ", ".join(sorted(subject.roles)) or "no role"
    what = "publish" if action.startswith(EVENT) else "call"
    needs = f"; it takes {' or '.join(decision.needs)}" if decision.needs else ""
    message = f"{who} ({has}) may not {what} {action[:300]}: {decision.reason}{needs}"
    if not subject.actor:
        message += "; the message has no token (see docs/how-to/identity.md)"
    details = {
        "action": action[:300],
        "rule": decision.rule or None,
        "reason": decision.reason,
        "needs": list(decision.needs),
        "actor": subject.actor or None,
        "roles": sorted(subject.roles),
    }
    return Forbidden(message, details=details)
