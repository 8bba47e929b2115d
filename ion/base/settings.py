"""The settings: every key, its type, its default and its meaning.

Contract: this is the one source of defaults (``res/config/ion.yml`` shows them, and a test keeps
the two equal). Times are in seconds, sizes in bytes. A struct is frozen: settings are read once,
when a container is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from ion.base.folders import data_folder
from ion.base.merging import merge
from ion.base.schema import NAME_PATTERN

Seconds = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
Size = Annotated[int, msgspec.Meta(ge=1)]
Count = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]
Prefetch = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Word = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN, max_length=100)]
HexKey = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-fA-F]{64}\Z")]
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
QueueKind = Literal["classic", "quorum"]
DeliveryMode = Literal["at-most-once", "at-least-once", "effectively-once"]
Delay = Annotated[float, msgspec.Meta(ge=0.01, le=86_400)]
Delays = Annotated[list[Delay], msgspec.Meta(min_length=1, max_length=10)]
Attempts = Annotated[int, msgspec.Meta(ge=1, le=1000)]

_BETWEEN_URLS = re.compile(r"\s*,\s*(?=[A-Za-z][\w+.-]*://)|\s+")


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all sections: frozen, every key optional."""


class ContainerSettings(_Section, frozen=True):
    """The container itself.

    :param sysname: name of the system that the container belongs to.
    :param name: container id; null: a new one is generated.
    :param start_timeout: time for one app or process to come up.
    :param drain_timeout: time to finish current work when the container stops.
    """

    sysname: Word = "ion"
    name: Word | None = None
    start_timeout: Seconds = 60.0
    drain_timeout: Seconds = 30.0


class BrokerTlsSettings(_Section, frozen=True):
    """TLS to the broker, for ``amqps://``; what a URL says goes before.

    :param ca_file: certificate authorities of the broker, in PEM; null: those of this machine.
    :param cert_file: client certificate, if the broker requires one.
    :param key_file: its key, without a password; null: it is in the same file.
    :param server_name: host name that the broker's certificate must have; null: the host of the
        URL.
    :param verify: verify the broker's certificate; false: anybody can be the broker.
    """

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None
    verify: bool = True


class BrokerSettings(_Section, frozen=True):
    """The message bus.

    :param url: URL of the broker; a list, or with commas: several of one cluster.
    :param connect_timeout: time for one attempt to connect.
    :param heartbeat: interval of AMQP heartbeats on the connection.
    :param lean: use the lean data path; false: plain aio-pika.
    :param listen: where others on this machine can reach the memory bus, ``HOST:PORT`` on loopback
        (port 0: any free one); null: nowhere.
    """

    url: str | list[str] = "memory://"
    connect_timeout: Seconds = 10.0
    heartbeat: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 10
    lean: bool = True
    listen: str | None = None
    tls: BrokerTlsSettings = BrokerTlsSettings()

    @property
    def urls(self) -> list[str]:
        """The URLs, one by one."""
        given = [self.url] if isinstance(self.url, str) else self.url
        return [url for text in given for url in _BETWEEN_URLS.split(text.strip()) if url]


class InterceptorSettings(_Section, frozen=True, rename={"in_": "in"}):
    """Interceptors, as dotted names, in the order in which a message meets them.

    :param in_: (``in`` in files) for incoming messages.
    :param out: for outgoing messages.
    """

    in_: list[str] = []
    out: list[str] = []


class SigningSettings(_Section, frozen=True):
    """Signed messages, where the interceptors ``ion.process.identity.signed`` are in use.

    :param required: refuse unsigned messages; false: while a system is switched to signing.
    :param max_age: how late after its deadline a request may come; greatest age of an answer.
    :param keep: greatest age of a one-way message, which may wait in queues.
    """

    required: bool = True
    max_age: Seconds = 300.0
    keep: Seconds = 604_800.0


class MessagingSettings(_Section, frozen=True):
    """Messages and conversations.

    :param rpc_timeout: time for an answer, if the call does not give a timeout.
    :param max_content: the largest content of one message.
    :param clock_skew: how far clocks may differ; beyond that, a message's ``deadline`` decides.
    :param max_waiting: how many calls may wait for a broker that accepts no messages; further ones
        fail.
    :param max_unheard: bytes that may wait at the broker for a private subscription; beyond that,
        the oldest events or granules are dropped.
    :param trace: publish a copy of each message to the exchange point ``trace``, for observers.
    """

    rpc_timeout: Seconds = 15.0
    max_content: Size = 1_048_576
    clock_skew: Seconds = 60.0
    max_waiting: Count = 10_000
    max_unheard: Size = 268_435_456
    trace: bool = False
    interceptors: InterceptorSettings = InterceptorSettings()
    signing: SigningSettings = SigningSettings()


class ProcessSettings(_Section, frozen=True):
    """Every process.

    :param mailbox: how many messages may wait for a process; further requests are answered 503.
    """

    mailbox: Count = 10_000


class ServiceSettings(_Section, frozen=True):
    """Every service; ``services.<name>`` overrides it for one.

    :param concurrency: how many messages are handled at a time, unless the class sets it.
    :param prefetch: how many messages are delivered ahead; null: as many as the mailbox holds.
    :param queue: ``classic``, or ``quorum`` (replicated, on a cluster of brokers).
    :param delivery: ``at-most-once`` (taken off the queue before it is handled: may be lost, never
        repeated), ``at-least-once`` (after: never lost, may be repeated), ``effectively-once`` (the
        same, and what was handled already is answered from memory).
    :param attempts: how often a message is tried before it goes to the dead letters.
    :param retry_delays: seconds before the second attempt, the third, ...; the last one repeats.
    """

    concurrency: Count = 64
    prefetch: Prefetch | None = None
    queue: QueueKind = "classic"
    delivery: DeliveryMode = "at-least-once"
    attempts: Attempts = 5
    retry_delays: Delays = msgspec.field(default_factory=lambda: [0.2, 1.0, 5.0, 30.0])


class ServiceOverride(_Section, frozen=True):
    """One service: what is null is as in ``service`` and ``process``.

    :param major: the major version that the plain name goes to; null: to every instance.
    :param singleton: whether one instance at a time takes requests, and another one when its
        connection is gone; null: as the class says.
    """

    concurrency: Count | None = None
    prefetch: Prefetch | None = None
    queue: QueueKind | None = None
    delivery: DeliveryMode | None = None
    attempts: Attempts | None = None
    retry_delays: Delays | None = None
    mailbox: Count | None = None
    major: Annotated[int, msgspec.Meta(ge=0)] | None = None
    singleton: bool | None = None


class AgentSettings(_Section, frozen=True):
    """The container's agent, and who may command it.

    :param key: key of the system, 64 hexadecimal digits; null: it is in a file.
    :param key_file: file with the key of the system, readable by this user alone (mode 0600),
        created by the first container that starts; null: ``ion/<sysname>.key`` in the user's data
        folder.
    :param own_key_file: private key (Ed25519, PEM) of this machine, to sign with instead.
    :param trusted_keys: folder with the public keys, ``NAME.pub``, of all trusted machines.
    """

    key: HexKey | None = None
    key_file: str | None = None
    own_key_file: str | None = None
    trusted_keys: str | None = None


class IdentitySettings(_Section, frozen=True):
    """Who calls: the tokens that messages carry, and how they are checked.

    :param verify: ``off`` (tokens only travel), ``hint`` (one that comes is checked; without one,
        ``user-id`` is taken as it is), ``present`` (without one nobody is known), ``required``.
    :param revocations: until earlier revocations are known after a start: accept tokens (``ask``),
        or only the system's (``require``).
    :param audience: audience that tokens must have; null: the sysname.
    :param keys: public keys (Ed25519, base64url) of further issuers of tokens.
    :param keys_file: a JSON Web Key Set with such keys, which only its owner can write.
    :param leeway: how far the clocks of issuer and container may differ.
    :param max_life: longest life of a token; one made for longer is refused.
    :param cache: how many checked tokens are remembered, to save checks.
    :param token: token of the container's own calls; ``system``: one that it makes with the key of
        the system; ``none``; null: ``system`` if ``verify`` is ``present`` or ``required``.
    :param token_file: file with that token, read again when it changes.
    """

    verify: Literal["off", "hint", "present", "required"] = "hint"
    revocations: Literal["ask", "require"] = "ask"
    audience: str | None = None
    keys: list[str] = []
    keys_file: str | None = None
    leeway: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 10.0
    max_life: Seconds = 86_400.0
    cache: Count = 4096
    token: str | None = None
    token_file: str | None = None


class PolicySettings(_Section, frozen=True):
    """Who may do what: rules, by which each message that arrives is decided.

    :param file: file with the rules, read again when it changes; null: none.
    :param service: whether the rules of the service ``policy`` replace those of the file, once
        received.
    :param default: what happens to a message that no rule decides: ``allow`` or ``deny``.
    :param owners: the service to ask who owns a resource (``find``, ``read_many``); null: none.
    :param reload_every: interval of checks of the file, and of the service.
    """

    file: str | None = None
    service: bool = False
    default: Literal["allow", "deny"] = "allow"
    owners: Word | None = "resource_registry"
    reload_every: Annotated[float, msgspec.Meta(ge=0.05, le=3600)] = 2.0

    @property
    def is_on(self) -> bool:
        """Whether messages are decided at all."""
        return self.file is not None or self.service or self.default == "deny"


class SystemSettings(_Section, frozen=True):
    """The containers of a system, and what they make of one another.

    :param heartbeat: interval of a container's heartbeats; longer with more than 50 containers.
    :param suspect_after: silence after which the others check whether its queue still exists.
    :param lost_after: silence after which a container is lost, whatever the broker says.
    :param grace: time after which a failover app of a vanished container is started elsewhere; a
        container that cannot prove for nearly as long that it still holds the app stops it.
    """

    heartbeat: Seconds = 1.0
    suspect_after: Seconds = 2.5
    lost_after: Seconds = 10.0
    grace: Seconds = 2.0


class EventsSettings(_Section, frozen=True):
    """What a container tells of its own life, as events.

    :param lifecycle: ``services`` (containers, apps and services), ``all`` (all processes, too),
        or ``off``.
    :param logs: which log lines are published as events, too: ``warning`` (and above), ``error``
        (and above), or ``off``.
    """

    lifecycle: Literal["off", "services", "all"] = "services"
    logs: Literal["off", "warning", "error"] = "off"


class HealthSettings(_Section, frozen=True):
    """What a healthy container is, and where it tells whether it is.

    :param listen: where health is served by HTTP, ``HOST:PORT`` (port 0: any free one); null:
        nowhere.
    :param blocked_after: how long the event loop may be blocked before this is reported, with the
        blocking stack.
    :param slow_op: how long an op may run, or a conversation be silent, before it is reported with
        its stack; null: never.
    :param max_wait: how long the oldest message may wait in a mailbox; null: for ever.
    :param max_confirm: how long the broker may take to confirm a message.
    :param look_every: least interval of checks of the broker.
    """

    listen: str | None = None
    blocked_after: Annotated[float, msgspec.Meta(ge=0.05, le=1e9)] = 1.0
    slow_op: Seconds | None = 30.0
    max_wait: Seconds | None = 60.0
    max_confirm: Seconds = 5.0
    look_every: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 5.0


class StoreSettings(_Section, frozen=True):
    """Where data is kept, and how far back it is known what was handled.

    :param url: URL of the store; null: an SQLite file with the system's name in the user's data
        folder.
    :param timeout: time for one call of the store.
    :param remember: how long a handled message is remembered, so that a repeat is not handled
        again.
    :param max_remembered: how many handled messages are remembered; then the oldest are forgotten.
    :param max_unsent: how many messages of units of work may wait for the broker; beyond that, a
        unit that sends one fails.
    :param lease: how long a silent container keeps its unsent messages; then another one sends
        them.
    """

    url: str | None = None
    timeout: Seconds = 30.0
    remember: Seconds = 86_400.0
    max_remembered: Count = 1_000_000
    max_unsent: Count = 100_000
    lease: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] = 5.0


class LoggingSettings(_Section, frozen=True):
    """What is logged, on standard error.

    :param level: level of all loggers.
    :param format: ``text`` or ``json`` (one object per line).
    :param levels: levels of single loggers, by name.
    """

    level: Level = "INFO"
    format: Literal["text", "json"] = "text"
    levels: dict[str, Level] = {}


class Settings(_Section, frozen=True):
    """All settings of a container.

    :param services: by service name.
    :param apps: by app name: free data, laid over the ``config`` of the app's file.
    """

    container: ContainerSettings = ContainerSettings()
    broker: BrokerSettings = BrokerSettings()
    messaging: MessagingSettings = MessagingSettings()
    process: ProcessSettings = ProcessSettings()
    service: ServiceSettings = ServiceSettings()
    services: dict[str, ServiceOverride] = {}
    agent: AgentSettings = AgentSettings()
    identity: IdentitySettings = IdentitySettings()
    policy: PolicySettings = PolicySettings()
    system: SystemSettings = SystemSettings()
    events: EventsSettings = EventsSettings()
    health: HealthSettings = HealthSettings()
    store: StoreSettings = StoreSettings()
    logging: LoggingSettings = LoggingSettings()
    apps: dict[str, dict[str, Any]] = {}

    def service_settings(self, name: str) -> ServiceSettings:
        """Return what holds for the service ``name``: its own keys over those of all services."""
        own = self.services.get(name)
        if own is None:
            return self.service
        return ServiceSettings(
            concurrency=own.concurrency or self.service.concurrency,
            prefetch=own.prefetch or self.service.prefetch,
            queue=own.queue or self.service.queue,
            delivery=own.delivery or self.service.delivery,
            attempts=own.attempts or self.service.attempts,
            retry_delays=own.retry_delays or self.service.retry_delays,
        )

    def app_config(self, name: str, *given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the configuration of the app: the maps ``given``, then ``apps.<name>`` on top."""
        result: dict[str, Any] = {}
        for layer in (*given, self.apps.get(name, {})):
            merge(result, layer)
        return result

    def store_url(self, sysname: str | None = None) -> str:
        """Return the URL of the store; the default one is a file named after the system."""
        if self.store.url is not None:
            return self.store.url
        return f"sqlite:///{data_folder() / (sysname or self.container.sysname)}.db"
