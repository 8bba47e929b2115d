"""Contexts beside IOWarp (``iowarp-core``), by the interface that both have, in one run."""
