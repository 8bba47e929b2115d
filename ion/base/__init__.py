"""Floor 0, the ground: errors, ids, clock, state machines, configuration, plugins, tasks."""
