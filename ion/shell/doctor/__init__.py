"""``ioncc doctor``: what is wrong with a set-up, as it would be used from here, and what helps.

A *fault* (:mod:`ion.shell.doctor.faults`) is a kind of thing that goes wrong, a row of the
reference; a *diagnosis* is one case of it that was found. A *check* looks at one thing, by what
the :class:`~ion.shell.doctor.context.Context` holds, and returns diagnoses. A further check is a
function in one of the modules here and a row in ``CHECKS`` of :mod:`ion.shell.doctor.command`.
"""
