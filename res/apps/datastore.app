# Repositories of objects, on the datastore that store.url names.
type: application
name: datastore
version: 0.1.0
description: The datastore of the system, which processes clone from, pull from and push to
processes:
  - {id: datastore, class: "ion.services.datastore.service:DatastoreService"}
registered: [datastore]
config:
  name: objects             # in front of the names of its stores
  collect: 3600             # seconds between two removals of what nobody needs; 0: never
  collect_grace: 86400      # seconds that it stays: blobs without owner, elements of no branch
