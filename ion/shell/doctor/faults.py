"""The faults that ``ioncc doctor`` knows: a code, how bad, what it means, what helps in general.

The page docs/reference/doctor.md shows this table; ``python -m tests.reference`` writes it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ion.base.findings import ERROR, WARNING


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of thing that goes wrong.

    :ivar code: its name, for programs.
    :ivar severity: ``error`` (does not work, or is open to others) or ``warning``.
    :ivar meaning: what is so, and what comes of it.
    :ivar remedy: what helps.
    """

    code: str
    severity: str
    meaning: str
    remedy: str


_HERE = (
    Fault(
        "configuration",
        ERROR,
        "A file, variable or option sets what is no setting, or to what it cannot be.",
        "Mend the line that is named; `ioncc config` shows all settings.",
    ),
    Fault(
        "setting-overridden",
        WARNING,
        "An environment variable hides what a file of settings says.",
        "`unset` the variable, or drop the line of the file.",
    ),
    Fault(
        "unknown-variable",
        WARNING,
        "A variable `ION_...` means nothing to ION: misspelt?",
        "Write `ION_<SECTION>__<KEY>`, or `unset` it.",
    ),
    Fault(
        "private-bus",
        WARNING,
        "The broker is `memory://`, and no container of the system listens on this machine: each "
        "`ioncc` has a bus of its own then, and reaches no other one.",
        "Name the broker with `-b` or `ION_BROKER` in every shell, or start the container with "
        "`--listen`.",
    ),
    Fault(
        "python",
        ERROR,
        "ION does not support this version of Python.",
        "Make a virtual environment with a newer Python.",
    ),
    Fault(
        "dependency",
        ERROR,
        "A package that ION needs is missing, or has a version it was not made for.",
        "`pip install` what is named.",
    ),
    Fault(
        "file-descriptors",
        WARNING,
        "An OS process may open only a few files here: a busy container runs out of them.",
        "`ulimit -n 4096`, or `LimitNOFILE=` of the systemd unit.",
    ),
    Fault(
        "data-folder",
        ERROR,
        "The folder for data (store, key) is none, or cannot be written to.",
        "Give it to the user of the containers, or set `XDG_DATA_HOME`.",
    ),
    Fault(
        "disk-space",
        WARNING,
        "The disk of the data folder is nearly full: less than 100 MiB are free, or less than a "
        "tenth of the store, which its upkeep may take.",
        "Make room, or move the store with `store.url`.",
    ),
    Fault(
        "store-file",
        ERROR,
        "The file of the store cannot be written to, or is something else.",
        "Give it to the user of the containers, or set `store.url`.",
    ),
    Fault(
        "runtime-folder",
        WARNING,
        "The folder where `local://` finds the container that listens is not this user's alone: it "
        "is not used, and others may look elsewhere.",
        "`chmod 700` it, or point `XDG_RUNTIME_DIR` at a folder of your own.",
    ),
    Fault(
        "runtime-file",
        WARNING,
        "The runtime file is of a container that has gone, or is not to be trusted.",
        "Remove it; a container that listens writes a new one.",
    ),
    Fault(
        "key-missing",
        WARNING,
        "There is no key of the system here: commands such as `ioncc spawn` will be refused.",
        "Copy the key file from where the containers run.",
    ),
    Fault(
        "key-unusable",
        ERROR,
        "The key file is open to others, or holds no key: it is not used.",
        "`chmod 600` it; where it is broken, copy it anew.",
    ),
    Fault(
        "key-differs",
        ERROR,
        "Containers of the system have another key: they refuse commands from here.",
        "Copy the key file from where the containers run.",
    ),
)
_CONNECTING = (
    Fault(
        "broker-refused",
        ERROR,
        "Nobody listens where the broker should be.",
        "Start the broker, or mend the URL.",
    ),
    Fault(
        "broker-host",
        ERROR,
        "The host of the broker's URL has no address.",
        "Mend the URL, or the name service.",
    ),
    Fault(
        "broker-login",
        ERROR,
        "The broker refuses user or password.",
        "`rabbitmqctl change_password USER PASSWORD`, or mend the URL.",
    ),
    Fault(
        "guest-refused",
        ERROR,
        "User `guest` is let in by RabbitMQ from its own machine only.",
        "`rabbitmqctl add_user` one of your own.",
    ),
    Fault("broker-vhost", ERROR, "The broker has no such vhost.", "`rabbitmqctl add_vhost VHOST`"),
    Fault(
        "broker-access",
        ERROR,
        "The user may not use the vhost.",
        '`rabbitmqctl set_permissions -p VHOST USER ".*" ".*" ".*"`',
    ),
    Fault(
        "broker-tls",
        ERROR,
        "There is no TLS with the broker: a certificate is not taken, or it speaks none.",
        "Set `broker.tls` (`ca_file`, `cert_file`); `amqp://` where the broker has no TLS.",
    ),
    Fault(
        "broker-foreign",
        ERROR,
        "What listens there does not speak AMQP: a web server, or the management port 15672.",
        "AMQP is on port 5672 (TLS: 5671) by default.",
    ),
    Fault(
        "broker-silent",
        ERROR,
        "The broker does not answer in time: stopped, overloaded, or behind a firewall.",
        "`rabbitmq-diagnostics ping` on its machine; open the port.",
    ),
    Fault(
        "broker-closed",
        ERROR,
        "The broker closes the connection while it is made.",
        "The broker's log says why.",
    ),
    Fault("broker-url", ERROR, "The URL of the broker is none.", "`-b amqp://USER:PASSWORD@HOST/`"),
)
_BROKER = (
    Fault(
        "broker-old",
        ERROR,
        "RabbitMQ is older than 3.10, the oldest that ION works with.",
        "Upgrade RabbitMQ, one minor version after the other.",
    ),
    Fault(
        "broker-end-of-life",
        WARNING,
        "This series of RabbitMQ gets no more fixes from its community.",
        "Upgrade RabbitMQ, one minor version after the other, or rely on who maintains yours.",
    ),
    Fault(
        "broker-product",
        WARNING,
        "The broker is not RabbitMQ: what it takes and what it ignores is not known.",
        "Use RabbitMQ for work that matters.",
    ),
    Fault(
        "guest-login",
        WARNING,
        "User `guest` with its default password is let in: whoever reaches the broker commands it.",
        "`rabbitmqctl add_user` one of your own, then `rabbitmqctl delete_user guest`.",
    ),
    Fault(
        "no-tls",
        WARNING,
        "Password and messages go to another machine in the clear.",
        "`amqps://`, once the broker has a TLS listener.",
    ),
    Fault(
        "permission",
        ERROR,
        "The user may not configure, write or read what the system needs.",
        '`rabbitmqctl set_permissions -p VHOST USER ".*" ".*" ".*"`',
    ),
    Fault(
        "broker-alarm",
        ERROR,
        "The broker is short of memory or disk, and takes no messages.",
        "`rabbitmq-diagnostics alarms` on its machine; make room, or raise the limit.",
    ),
    Fault(
        "heartbeat",
        WARNING,
        "There are no heartbeats with the broker, or a minute or more apart: a machine that "
        "vanishes goes unnoticed, and holds its queues and leases meanwhile.",
        "Leave `heartbeat` out of the URL, and `broker.heartbeat` at its default, 10.",
    ),
    Fault(
        "message-size",
        ERROR,
        "The broker takes smaller messages than `messaging.max_content` lets through.",
        "Lower `messaging.max_content`, or raise `max_message_size` of the broker.",
    ),
    Fault(
        "frame-size",
        WARNING,
        "Frames are under 64 KiB: a message's headers (call stack, trace) must fit into one.",
        "Leave `frame_max` of the broker at its default, 131072.",
    ),
)
_QUEUES = (
    Fault(
        "exchange",
        ERROR,
        "An exchange of the system is of another type than ION declares, or not durable: no "
        "container can start.",
        "Stop the system, delete the exchange, start again.",
    ),
    Fault(
        "no-dead-letter-exchange",
        ERROR,
        "The exchange for dead letters is missing: what nobody could handle is lost.",
        "Start a container: it declares it.",
    ),
    Fault(
        "no-dead-letter-queue",
        ERROR,
        "A service has no queue for its dead letters: what nobody could handle is lost.",
        "Start a container with the service: it declares it.",
    ),
    Fault(
        "queue",
        ERROR,
        "A queue has other arguments than ION declares (classic or quorum, dead letters, limits): "
        "the service cannot start.",
        "Set `services.NAME.queue` as it is; or stop the service, delete the queue, start again.",
    ),
    Fault(
        "queue-unconsumed",
        WARNING,
        "Messages wait in a queue that nobody takes from; it grows.",
        "Start the service, or delete the queue where it is given up.",
    ),
    Fault(
        "subscription-unconsumed",
        WARNING,
        "Events wait for a durable subscription that nobody consumes, and it has no expiry (as the "
        "broker's management tells): it fills up.",
        "Start who subscribes by its name; where nobody will, delete the queue; next time, "
        "subscribe with `expires`.",
    ),
    Fault(
        "queue-unlimited",
        WARNING,
        "A queue of the system that nobody consumes has no limit and no expiry (as the broker's "
        "management tells).",
        "Delete it, or give it a limit with a policy.",
    ),
    Fault(
        "dead-letters",
        WARNING,
        "Messages that nobody could handle wait for somebody to look.",
        "`ioncc dlq show KEY`, then `replay` or `purge`.",
    ),
    Fault(
        "retry-ladder",
        ERROR,
        "A step of the retry ladder is missing, was declared otherwise, or is consumed by "
        "somebody: what takes it does not come back.",
        "Delete its queue, and start a container: it declares it.",
    ),
    Fault(
        "suspects",
        WARNING,
        "Messages that were there when containers died wait, and nobody takes them.",
        "Start the service, and see `ioncc dlq list` then.",
    ),
)
_SYSTEM = (
    Fault(
        "clock",
        ERROR,
        "The clock of a container, or of the broker, is off by more than `messaging.clock_skew`: "
        "deadlines of calls are wrong.",
        "Run a time service (`timedatectl set-ntp true`) on both machines.",
    ),
    Fault(
        "clock-drift",
        WARNING,
        "The clock of a container, or of the broker, is off by seconds: signed commands may be "
        "refused, and times in logs mislead.",
        "Run a time service (`timedatectl set-ntp true`) on both machines.",
    ),
    Fault(
        "two-systems",
        ERROR,
        "Containers of one system have different keys: two systems have one name, and take each "
        "other's messages.",
        "Give one of them another name (`-s`); or, if it is one system, copy the key file.",
    ),
    Fault(
        "ion-versions",
        WARNING,
        "Containers run different versions of ION.",
        "Bring all to one version.",
    ),
    Fault(
        "service-versions",
        WARNING,
        "Several major versions of a service answer to its plain name, in turn.",
        "Set `services.NAME.major` in all containers.",
    ),
    Fault(
        "not-ready",
        ERROR,
        "A container says that it is not ready for work: it starts or stops, its broker is away "
        "(DEGRADED), nobody takes from a queue of its, a message waits for too long, ...",
        "`ioncc health` tells more, and the container's log.",
    ),
    Fault(
        "stuck-op",
        WARNING,
        "An op has run for longer than `health.slow_op`.",
        "`ioncc health` shows the stack where it waits; `ioncc kill PID` ends it.",
    ),
    Fault(
        "container-name",
        ERROR,
        "A container of the name that is set here runs already: another one cannot start.",
        "Leave `container.name` out, or give each its own.",
    ),
)
GROUPS = {
    "On this machine": _HERE,
    "Reaching the broker": _CONNECTING,
    "The broker": _BROKER,
    "Exchanges and queues": _QUEUES,
    "The containers": _SYSTEM,
}
FAULTS = {fault.code: fault for group in GROUPS.values() for fault in group}
