"""The health of a container: what is looked at, what is made of it, and where it is told.

``vitals.py`` costs nothing, and is sampled; ``probes.py`` takes time; ``verdict.py`` decides from
both, purely. ``health.py`` does all of it in turn. It is told to agents and by HTTP
(``httpserver.py``), for Prometheus too (``exposition.py``). ``condition.py`` is the state of the
container itself.
"""
