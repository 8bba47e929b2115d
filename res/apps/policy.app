# The rules of the system, in versions; containers with policy.service: true decide by the newest.
type: application
name: policy
version: 0.1.0
description: The rules of the system, who may do what
processes:
  - {id: policy, class: "ion.services.policy.service:PolicyService"}
registered: [policy]
config:
  store: policy             # name of its store
