# A visitor of the hello services. It needs them: they are started before it.
type: application
name: visitor
version: 0.1.0
description: Somebody to greet, so that there is something to see
applications: [hello, hello_errors, hello_progress]
processes:
  - id: visitor
    class: "ion.services.hello.visitor:Visitor"
    args: {interval: 10.0, visits: 3}     # seconds between greetings, and how many of them
