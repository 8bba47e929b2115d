"""Effects that happen once: the inbox and the outbox in the store, and units of work over both."""
