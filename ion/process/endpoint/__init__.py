"""An endpoint: one party on the bus, its answers, its open calls and their deadlines."""
