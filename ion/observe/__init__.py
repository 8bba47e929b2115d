"""Floor 1, the windows: the context of the running call, logs, metrics, traces."""
