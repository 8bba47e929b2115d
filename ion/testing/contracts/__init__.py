"""Contract suites: what every implementation of a protocol of ION must do, as importable tests."""
