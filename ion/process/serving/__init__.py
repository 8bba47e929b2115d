"""Serving: a message on its way through a process, from its arrival to its answer."""
