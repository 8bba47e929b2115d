"""The command line of ``ioncc doctor``."""

from __future__ import annotations

DESCRIPTION = """\
Check the set-up as seen from here (settings, broker, queues, containers), and say what is wrong,
how bad it is, and what helps. Nothing is changed, and no message is taken from a queue.
Exits 1 if anything is an error, otherwise 0.
"""
EPILOG = """\
examples:
  ioncc doctor
  ioncc doctor -b amqp://guest:guest@localhost:5672/ -s demo
"""
