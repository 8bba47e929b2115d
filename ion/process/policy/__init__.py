"""Policy: who may do what, as data; decided where a message arrives, before anything of it runs.

:mod:`.model` says what rules are, :mod:`.reading` reads them (:mod:`.shadowed_rules` finds those
that can never apply), :mod:`.decisions` decides, from :mod:`.facts` and :mod:`.owners`.
:mod:`.interceptor` asks it for each message, :mod:`.decision_log` has what it decided. The rules
that a container has are :mod:`.active_rules`; :mod:`.keeper` keeps them up to date, by
:mod:`.distribution`.
"""
