# Teaches a plain process, which is reached by its process id; `mod` names its class.
type: application
name: hello_process
version: 0.1.0
description: An actor that greets
mod: {name: "ion.services.hello_process.process:HelloProcess", kwargs: {greeting: Hello there}}
