"""Streams of granules against raw publish and consume of the same bytes.

``python -m benchmarks.streams`` runs these rows alone; they are those of ``make bench``, too.
"""
