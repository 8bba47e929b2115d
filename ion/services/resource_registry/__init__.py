"""Resources: typed, owned, with a life cycle, a history and associations."""
