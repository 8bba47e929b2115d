"""What users import from ``ion``; nothing inside uses it."""

from __future__ import annotations

from ion.base.errors import (
    ApplicationError,
    BadRequest,
    CallCycle,
    Cancelled,
    CodecError,
    ConfigurationError,
    Conflict,
    ContentTooLarge,
    ConversationError,
    Damaged,
    DeadlineExceeded,
    Forbidden,
    InvalidRequest,
    IonError,
    LifecycleError,
    NewerSchema,
    NotFound,
    OpNotFound,
    ProcessNotFound,
    ReceivedApplicationError,
    ReceivedContainerError,
    ReceivedError,
    Refused,
    ServiceNotFound,
    StartError,
    StoreError,
    Unauthorized,
    Unavailable,
    Unroutable,
    UnsupportedContentType,
)
from ion.base.version import __version__
from ion.container.container import Container
from ion.process.client import ServiceClient
from ion.process.command.operator import Operator
from ion.process.connection import Connection, connect
from ion.process.conversations.dialogue import Dialogue
from ion.process.conversations.request import RequestConversation
from ion.process.conversations.stream import StreamConversation
from ion.process.events.event import Event
from ion.process.identity import Identity, acting
from ion.process.process import Process
from ion.process.pubsub.publishing import Answer
from ion.process.pubsub.subscription import Subscription
from ion.process.service import Service
from ion.process.supervision.exit_reason import DownNotice
from ion.process.supervision.spec import Backoff, ChildSpec, Flags
from ion.process.supervisor import Supervisor

__all__ = [
    "Answer",
    "ApplicationError",
    "Backoff",
    "BadRequest",
    "CallCycle",
    "Cancelled",
    "ChildSpec",
    "CodecError",
    "ConfigurationError",
    "Conflict",
    "Connection",
    "Container",
    "ContentTooLarge",
    "ConversationError",
    "Damaged",
    "DeadlineExceeded",
    "Dialogue",
    "DownNotice",
    "Event",
    "Flags",
    "Forbidden",
    "Identity",
    "InvalidRequest",
    "IonError",
    "LifecycleError",
    "NewerSchema",
    "NotFound",
    "OpNotFound",
    "Operator",
    "Process",
    "ProcessNotFound",
    "ReceivedApplicationError",
    "ReceivedContainerError",
    "ReceivedError",
    "Refused",
    "RequestConversation",
    "Service",
    "ServiceClient",
    "ServiceNotFound",
    "StartError",
    "StoreError",
    "StreamConversation",
    "Subscription",
    "Supervisor",
    "Unauthorized",
    "Unavailable",
    "Unroutable",
    "UnsupportedContentType",
    "__version__",
    "acting",
    "connect",
]
