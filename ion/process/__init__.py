"""Floor 4, the actors: processes, their ops, services and clients."""
