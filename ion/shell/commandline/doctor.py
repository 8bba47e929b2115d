"""The command line of ``ioncc doctor``."""

from __future__ import annotations

DESCRIPTION = """\
Look at the set-up as it would be used from here (settings, broker, queues, containers), and say
what is wrong, how bad it is, and what helps. Nothing is changed, nothing is taken from a queue.
Exits 1 where anything is an error, 0 otherwise.
"""
EPILOG = """\
examples:
  ioncc doctor
  ioncc doctor -b amqp://guest:guest@localhost:5672/ -s demo
"""
