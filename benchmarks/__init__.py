"""Measure ION, the raw limit and the peers in one run; every figure of the README comes from here.

The load side (``payload``, ``load``, ``role`` and everything in ``peers``) runs in the peers' own
virtual environment too, so it imports nothing but the standard library and what it measures.
"""
