"""Identity: who there is in a system, how they prove it, and the tokens that they get for it."""
