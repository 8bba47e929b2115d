# Typed resources, their life cycles and associations, on the datastore that store.url names.
type: application
name: resource_registry
version: 0.1.0
description: The resource registry of the system
processes:
  - {id: resource_registry, class: "ion.services.resource_registry.service:ResourceRegistryService"}
registered: [resource_registry]
config:
  name: registry            # in front of the names of its stores
  history: 100              # former versions that are kept of each resource
