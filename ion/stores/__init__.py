"""Floor 2, the cellar: pluggable datastores behind one protocol."""
