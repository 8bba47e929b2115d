type: application
name: missing_module
processes:
  - {id: a, class: 'no_such_package.port:Port'}
