"""The topic of an event that has come, verified, for those who decide by it."""

from __future__ import annotations

from ion.base.errors import BadRequest
from ion.messaging.memory.exchange import matches, words
from ion.process.pubsub.topics import MAX_TOPIC
from ion.process.serving.incoming import IncomingCall


def verified_topic(call: IncomingCall) -> str:
    """Return the topic that an event was sent with, where its subscription is for such.

    Only the point's own exchange says for sure what that is. Whoever can put a message into the
    queue says what they like, such as one that they may publish.

    :raises BadRequest: nobody can have published that there.
    """
    topic, source = call.topic, call.source
    if not source.queue:
        return topic  # it was asked for
    if len(topic) <= MAX_TOPIC and "/" not in topic:
        split = words(topic)
        if any(matches(words(pattern), split) for pattern in source.topics):
            return topic
        is_shared = source.policy is not None  # by others, who may have added topics
        exchange = call.endpoint.namespace.exchange_point(source.point).name
        if is_shared and call.delivery.exchange == exchange:
            return topic
    message = f"no event of topic {topic[:MAX_TOPIC]!r} can have come to {source.queue!r}"
    raise BadRequest(message)
