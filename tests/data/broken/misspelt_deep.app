type: application
name: misspelt_deep
processes:
  - id: a
    class: ion:Process
    restrat: transient
