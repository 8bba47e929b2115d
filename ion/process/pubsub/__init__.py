"""Publish and subscribe: topics, who hears of them, and what is told."""
