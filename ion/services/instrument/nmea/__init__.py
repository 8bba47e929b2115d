"""GPS receivers and their like, which talk NMEA 0183 over TCP."""
