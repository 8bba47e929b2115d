"""Floor 5, the caretaker: containers, the spawner, exchanges, apps, releases and the agent."""
