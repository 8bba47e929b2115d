"""The hello service that takes its time: a request conversation with progress."""
