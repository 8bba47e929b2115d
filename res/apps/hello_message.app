# Teaches typed messages: structures in, structures out.
type: application
name: hello_message
version: 0.1.0
description: A hello service that speaks in structures
processes:
  - {id: hello_message, class: "ion.services.hello_message.service:HelloMessageService"}
registered: [hello_message]
