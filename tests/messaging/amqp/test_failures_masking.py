"""What the libraries log is masked, in a time that grows with its length alone."""

from __future__ import annotations

import time

from ion.messaging.amqp.failures import masked


def test_the_login_of_every_url():
    text = 'amqp://me:secret@host/v, <Connection: "amqps://you:x@[::1]:5671/"> and amqp://host/a@b'
    shown = 'amqp://***@host/v, <Connection: "amqps://***@[::1]:5671/"> and amqp://host/a@b'
    assert masked(text) == shown


def test_a_frame_of_a_mebibyte():
    begun = time.process_time()
    assert masked("x" * 1_048_576) == "x" * 1_048_576
    assert masked("://" * 300_000) == "://" * 300_000
    assert time.process_time() - begun < 5  # minutes, where each letter may begin a scheme
