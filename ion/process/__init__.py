"""Floor 4, the actors: processes, their ops, services and clients.

``process.py`` is the actor, put together from what it may do: call (``calling.py``), live and watch
others (``living.py``), and what the folders here add: answer, subscribe, keep. Its ops are compiled
by ``ops.py`` when its class is made. ``service.py`` is one with a public name, ``supervisor.py``
one that keeps others running. ``host.py`` is what it sees of its container.

Whoever calls has ``client.py``, or ``versions.py`` for a range of versions; a script has
``connection.py``, and ``embedding.py`` where it is not asynchronous. ``discovery.py`` asks all
containers what they host, ``peering.py`` brings repositories of objects from process to process,
and ``storeerrors.py`` errors of stores.
"""
