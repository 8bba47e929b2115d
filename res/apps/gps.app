# The agent of a GPS receiver. It needs the simulator only as the rel or its arguments say.
type: application
name: gps
version: 0.1.0
description: A GPS receiver, by its agent
processes:
  - id: gps1
    class: "ion.services.instrument.agent:InstrumentAgent"
    shutdown: 10.0
    args:
      resource: gps1        # its name: ioncc call gps1.status
      device: {service: simulator}    # or {host: 10.0.0.5, port: 4001}
      stream: gps
      start: STREAMING
