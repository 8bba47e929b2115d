"""A program that knows nothing of ION: it calls `hello` with pika, in JSON and in msgpack.

Usage: foreign_caller.py URL SYSNAME. Prints one JSON line per call: what it asked and what came.
"""

import json
import sys
import uuid

import msgpack
import pika

TIMEOUT = 10


class Caller:
    """The request/reply pattern of the RabbitMQ tutorials."""

    def __init__(self, url, sysname):
        self.connection = pika.BlockingConnection(pika.URLParameters(url))
        self.channel = self.connection.channel()
        self.exchange = f"{sysname}.xs"
        self.queue = self.channel.queue_declare("", exclusive=True).method.queue
        self.answers = {}
        self.channel.basic_consume(self.queue, self.take, auto_ack=True)

    def take(self, channel, method, properties, body):
        self.answers[properties.correlation_id] = (properties, body)

    def call(self, service, op, body, content_type, headers=None):
        correlation_id = str(uuid.uuid4())
        self.channel.basic_publish(
            self.exchange,
            service,
            body,
            pika.BasicProperties(
                type=op,
                reply_to=self.queue,
                correlation_id=correlation_id,
                content_type=content_type,
                headers=headers,
            ),
        )
        for _ in range(TIMEOUT * 10):
            if correlation_id in self.answers:
                return self.answers.pop(correlation_id)
            self.connection.process_data_events(time_limit=0.1)
        raise TimeoutError(op)


def main(url, sysname):
    caller = Caller(url, sysname)
    calls = [
        ("hello", json.dumps({"text": "json"}).encode(), "application/json"),
        ("hello", msgpack.packb({"text": "msgpack"}), "application/msgpack"),
        ("hello", msgpack.packb("just text"), None),
        ("hello", b"", "application/json"),
        ("nonsense", json.dumps({}).encode(), "application/json"),
        ("hello", json.dumps({"txt": 1}).encode(), "application/json"),
        ("hello", b"{", "application/json"),
        ("hello", b"\xc1", "application/msgpack"),
        ("hello", b"a,b", "text/csv"),
        ("hello", b"x" * 1_100_000, "application/json"),
    ]
    for op, body, content_type in calls:
        properties, answer = caller.call("hello", op, body, content_type)
        decode = json.loads if properties.content_type == "application/json" else msgpack.unpackb
        row = {
            "op": op,
            "asked": content_type,
            "answered": properties.content_type,
            "content": decode(answer),
            "headers": properties.headers,
            "type": properties.type,
            "message_id": properties.message_id,
            "timestamp": properties.timestamp,
        }
        print(json.dumps(row))
    caller.connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
