"""The hello service with typed messages: structures in, structures out."""
