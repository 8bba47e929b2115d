"""The echo service: the two forms of an op, typed and raw."""
