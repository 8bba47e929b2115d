"""The health of a container: what is looked at, what is made of it, and where it is told.

:mod:`.vitals` costs nothing, and is sampled; :mod:`.probes` takes time; :mod:`.verdict` decides
from both, purely. :mod:`.health` does all of it in turn. It is told to agents and by HTTP
(:mod:`.httpserver`), for Prometheus too (:mod:`.exposition`). :mod:`.condition` is the state of the
container itself.
"""
