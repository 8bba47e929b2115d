"""The hello process: an actor without a public name, reached by its process id."""
