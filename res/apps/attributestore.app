# Values under keys, found by their attributes, on the datastore that store.url names.
type: application
name: attributestore
version: 0.1.0
description: The attribute store of the system
processes:
  - {id: attributestore, class: "ion.services.attributestore.service:AttributeStoreService"}
registered: [attributestore]
config:
  namespace: attributes     # name of the index store; one instance, one namespace
  indices: {}               # declared attributes: {kind: str, depth: float}
