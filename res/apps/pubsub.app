# Exchange spaces, points, topics and subscriptions, registered and made real at the broker.
type: application
name: pubsub
version: 0.1.0
description: The registry of exchange points and subscriptions
processes:
  - {id: pubsub, class: "ion.services.pubsub.service:PubsubService"}
registered: [pubsub]
config:
  store: pubsub             # name of its index store
