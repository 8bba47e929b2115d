# Teaches request conversations: agree or refuse, progress, result, cancel.
type: application
name: hello_progress
version: 0.1.0
description: A hello service that shows visitors around
processes:
  - {id: hello_progress, class: "ion.services.hello_progress.service:HelloProgressService"}
registered: [hello_progress]
