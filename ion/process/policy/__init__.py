"""Policy: who may do what, as data; decided where a message arrives, before anything of it runs.

:mod:`.model` says what rules are, :mod:`.reading` reads them (:mod:`.contradicting` finds those
that can never apply), :mod:`.decisions` decides, from :mod:`.facts` and :mod:`.owners`.
:mod:`.gate` is the interceptor that asks, :mod:`.journal` has what it decided. The rules that a
container has are :mod:`.policing`; :mod:`.keeper` keeps them up to date, by :mod:`.distribution`.
"""
