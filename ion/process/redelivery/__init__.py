"""Messages that were not done: again, elsewhere, or kept as dead letters to be looked at."""
