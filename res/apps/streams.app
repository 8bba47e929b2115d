# Streams of granules, known and kept on the datastore that store.url names.
type: application
name: streams
version: 0.1.0
description: The streams of the system, what is kept of them, and its replay
processes:
  - {id: streams, class: "ion.services.streams.service:StreamsService"}
registered: [streams]
config:
  streams: {}               # that are to be there: {ctd: {persist: {seconds: 86400}}}
