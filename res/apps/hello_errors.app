# Teaches how errors are raised, answered and received.
type: application
name: hello_errors
version: 0.1.0
description: A hello service that greets guests only
processes:
  - {id: hello_errors, class: "ion.services.hello_errors.service:HelloErrorsService"}
registered: [hello_errors]
