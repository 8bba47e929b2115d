type: application
name: class_of_a_broken_module
processes:
  - {id: a, class: 'broken_module:Port'}
