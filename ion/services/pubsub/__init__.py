"""The registry of exchange spaces, points, topics and subscriptions, which makes them real."""
