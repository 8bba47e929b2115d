type: application
name: missing_class
processes:
  - id: a
    class: ion.services.hello.service:HelloServise
