"""The scheduler: tasks that fire once, at intervals or by cron; an event, a message or a call."""
