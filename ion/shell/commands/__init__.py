"""The commands of ``ioncc``, a file each, and what several of them need.

:mod:`.remote` connects and dispatches. :mod:`.system` is ``ps``, ``services``, ``apps`` and
``nodes``; :mod:`.steering` is spawn, kill, restart, drain and loglevel. Not commands: :mod:`.nodes`
and :mod:`.choosing` (which containers are meant), :mod:`.rates`, :mod:`.screen`, :mod:`.printing`
and :mod:`.signals`.
"""
