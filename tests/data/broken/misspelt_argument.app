type: application
name: misspelt_argument
processes:
  - id: visitor
    class: ion.services.hello.visitor:Visitor
    args: {visits: 3, intervall: 10.0}
