type: application
name: argument_nobody_names
mod:
  class: ion.services.hello.service:HelloService
  kwargs:
    greeting: Good morning
