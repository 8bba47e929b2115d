# Teaches events: published by a service, heard by two listeners of different minds.
type: application
name: hello_events
version: 0.1.0
description: A service that tells who comes, and listeners
processes:
  - {id: hello_events, class: "ion.services.hello_events.service:HelloEventsService"}
  - id: host                                # hears of everybody, while it runs
    class: "ion.services.hello_events.listener:Listener"
  - id: gardener                            # hears of some, also of those who came before it
    class: "ion.services.hello_events.listener:Listener"
    args: {topics: hello.arrived.garden, book: gardenbook}
registered: [hello_events]
