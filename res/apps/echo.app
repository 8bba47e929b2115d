# Teaches the two forms of an op, typed and raw.
type: application
name: echo
version: 0.1.0
description: A service that says what it was told
processes:
  - {id: echo, class: "ion.services.echo.service:EchoService"}
registered: [echo]
