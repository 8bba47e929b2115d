# Keeps every event that is told, on the datastore that store.url names.
type: application
name: events
version: 0.1.0
description: The repository of events of the system
processes:
  - {id: events, class: "ion.services.events.service:EventsService"}
registered: [events]
config:
  store: events             # name of the index store
  types: "Event.#"          # topics of the events that are kept
  max_age: 2592000.0        # seconds that an event is kept; null: for ever
  max_count: 1000000        # events that are kept at most; null: all
  limits:                   # of a type, and those below it: max_count, max_age; less than of all
    ProcessEvent: {max_count: 100000}
    TimerFired: {max_count: 100000}
    LogEvent: {max_count: 100000}
  trim_every: 60.0          # seconds between two looks for what is to go
