"""The decisions of a supervisor: events in, actions out. Pure: no clock, no I/O, no tasks.

Whoever drives a :class:`~ion.process.supervision.decisions.Supervision` tells it what happened and
when, and begins what it returns, in that order. The rules are those of Erlang/OTP.

=============  ===================================  ================================================
a child is     its own end is followed by           when it goes down because of a sibling
=============  ===================================  ================================================
permanent      a restart, always                    it comes back with the sibling
transient      a restart, where it failed; after    it comes back with the sibling; also where it
               ``normal`` or ``shutdown`` none      had ended by itself before
temporary      nothing; it is forgotten             it does not come back; it is forgotten
=============  ===================================  ================================================

=============  ===================================  ================================================
strategy       a restart takes with it              order of restarts
=============  ===================================  ================================================
one_for_one    nobody                               none: each child by itself
rest_for_one   the children started after it        down in reverse, one by one, then up in order
one_for_all    all                                  down in reverse, one by one, then up in order
pool           nobody                               none; the pool begins empty, and a child that is
                                                    not to be restarted is forgotten
=============  ===================================  ================================================

- At first all children are started in order, one by one. Where one does not come up, all are
  terminated, in reverse, and the supervisor has failed.
- More than ``intensity`` restarts within ``period``: all are terminated, in reverse, and the
  supervisor has failed. A group that is restarted together counts as one restart. A restarted
  child that does not come up has failed again.
- A child that ends itself normally while it starts has declined: it is down, and not missed.
- A restart waits for its back-off; in a group all wait, in one_for_one and pool nobody else does.
- A failure in the midst of a restart counts at once; what is not up to date is given up.
- A child that was terminated on request stays down until a restart of it is requested, whatever
  its siblings do (OTP would start it again with its group). Requests count as no restarts.
- A significant child that ends by itself, and is not restarted, may end the supervisor's work
  (``auto_shutdown``): all others are terminated, in reverse.
- All children end in reverse order, one by one; those of a pool at the same time.
"""
