"""Events: published by one, heard by whoever wants to."""
