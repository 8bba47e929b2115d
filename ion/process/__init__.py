"""Floor 4, the actors: processes, their ops, services, clients and supervisors."""
