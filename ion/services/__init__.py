"""Floor 5, the tenants: one folder a service; strangers to the container that hosts them."""
