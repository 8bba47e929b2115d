"""Instruments: an agent for each, which owns its driver, and tells what it does."""
