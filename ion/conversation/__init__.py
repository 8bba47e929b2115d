"""Floor 3, manners: conversations as pure state machines, and the table of open ones."""
