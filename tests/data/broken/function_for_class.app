type: application
name: function_for_class
processes:
  - {id: a, class: 'json:dumps'}
