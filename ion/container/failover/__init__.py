"""Failover: apps of which a system runs one, by leases that one container holds at a time."""
