type: application
name: negative_shutdown
processes:
  - id: a
    class: ion:Process
    shutdown: -1
