"""Tools for testing ION and services built on it: private servers, fixtures, contract suites."""
