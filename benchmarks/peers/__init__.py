"""One file a peer. Each is a program: ``python -m benchmarks.peers.NAME ROLE --option value``.

Roles of a pair over the broker are ``server`` and ``client`` (rpc), ``sub`` and ``pub`` (one way);
an actor library in one process has the role ``local``. A server or sub prints ``ready``; a client,
sub or local prints its figures as one line of JSON. They are ended with SIGTERM.
"""
