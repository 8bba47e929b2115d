# The smallest app: one service.
type: application
name: hello
version: 0.1.0
description: A service that greets
processes:
  - {id: hello, class: "ion.services.hello.service:HelloService"}
registered: [hello]
