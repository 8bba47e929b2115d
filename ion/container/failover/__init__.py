"""Failover: apps of which a system runs one, by leases that one container holds at a time.

``leasing.py`` is the pure core, in the words of ``tokens.py``; ``lease.py`` does what it decides.
``standby.py`` runs an app while its lease is held, and waits for it else; ``failover.py`` has all
that a container has.
"""
