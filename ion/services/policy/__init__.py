"""The policy service: the rules of a whole system, in versions; containers take the newest."""
