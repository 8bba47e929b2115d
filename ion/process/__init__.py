"""Floor 4, the actors: processes, their ops, services and clients.

:mod:`.process` is the actor, put together from what it may do: call (:mod:`.calling`), live and
watch others (:mod:`.living`), and what the folders here add: answer, subscribe, keep. Its ops are
compiled by :mod:`.ops` when its class is made. :mod:`.service` is one with a public name,
:mod:`.supervisor` one that keeps others running. :mod:`.host` is what it sees of its container.

Whoever calls has :mod:`.client`, or :mod:`.versions` for a range of versions; a script has
:mod:`.connection`, and :mod:`.embedding` where it is not asynchronous. :mod:`.discovery` asks all
containers what they host, :mod:`.peering` brings repositories of objects from process to process,
and :mod:`.storeerrors` errors of stores.
"""
