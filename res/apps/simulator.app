# A GPS receiver that is none: NMEA 0183 at a TCP port, well or badly behaved.
type: application
name: simulator
version: 0.1.0
description: A simulated GPS receiver
processes:
  - id: simulator
    class: "ion.services.simulator.service:SimulatorService"
    args:
      port: 0               # any that is free; agents ask the service for it
      rate: 1.0             # fixes a second
      schedule: []          # how it misbehaves by itself: {fault: silence, after: 60, seconds: 10}
registered: [simulator]
