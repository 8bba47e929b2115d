"""The commands of ``ioncc``, a file each, and what several of them need.

``remote.py`` connects and dispatches. ``system.py`` is ``ps``, ``services``, ``apps`` and
``nodes``; ``steering.py`` is spawn, kill, restart, drain and loglevel. Not commands: ``nodes.py``
and ``choosing.py`` (which containers are meant), ``rates.py``, ``screen.py``, ``printing.py`` and
``signals.py``.
"""
