type: application
name: no_process_class
processes:
  - {id: a, class: 'json:JSONDecoder'}
