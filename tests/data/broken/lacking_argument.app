type: application
name: lacking_argument
processes:
  - id: gps
    class: ion.services.instrument.agent:InstrumentAgent
    args: {stream: gps}
