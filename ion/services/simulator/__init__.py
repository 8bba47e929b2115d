"""A GPS receiver that is none: it talks NMEA 0183 over TCP, and behaves badly when asked to."""
