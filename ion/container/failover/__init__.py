"""Failover: apps of which a system runs one, by leases that one container holds at a time.

:mod:`.leasing` is the pure core, in the words of :mod:`.lease_actions`; :mod:`.lease_keeper` does
what it decides. :mod:`.standby` runs an app while its lease is held, and waits for it else;
:mod:`.failover` has all that a container has.
"""
