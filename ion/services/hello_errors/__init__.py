"""The hello service that can fail: how errors are raised, answered and received."""
