"""Policy: who may do what, as data; decided where a message arrives, before anything of it runs."""
