"""Stores against their bare drivers, doing the same work on private servers.

``python -m benchmarks.stores`` runs all of it; the rows are those of ``make bench``, too.
"""
