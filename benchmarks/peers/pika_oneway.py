"""pika's blocking adapter one way: no confirms, no acks, transient."""

from __future__ import annotations

from typing import Any

import pika

from benchmarks import load, role

QUEUE = "pika_oneway"


def subscribe(url: str, size: int, seconds: float) -> None:
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    channel.queue_declare(QUEUE, durable=True)
    counter = load.Counter(size, seconds)

    def on_message(_channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
        if counter.take(body):
            channel.stop_consuming()

    channel.basic_consume(QUEUE, on_message, auto_ack=True)
    role.say_ready()
    channel.start_consuming()
    role.report(counter.figures())


def publish(url: str, size: int) -> None:
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    body, properties = bytes(size), pika.BasicProperties(delivery_mode=1)
    while True:
        channel.basic_publish("", QUEUE, body, properties)


if __name__ == "__main__":
    o = role.options()
    if o.role == "sub":
        subscribe(o.url, o.size, o.seconds)
    else:
        publish(o.url, o.size)
