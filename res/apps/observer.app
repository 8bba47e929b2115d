# Somebody who says where the GPS receiver is.
type: application
name: observer
version: 0.1.0
description: Looks at the stream of positions
processes:
  - id: observer
    class: "ion.services.instrument.observer:Observer"
    args: {stream: gps, interval: 10.0, reports: 6}   # seconds between reports; 0 reports: no end
