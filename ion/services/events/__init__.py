"""The repository of events: what was told of, to be asked for and told again."""
