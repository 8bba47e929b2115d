"""Datastores against their bare drivers doing the same work, both in one run."""
