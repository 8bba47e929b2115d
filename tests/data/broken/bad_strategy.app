type: application
name: bad_strategy
processes: [{id: a, class: 'ion:Process'}]
supervision:
  strategy: one_for_two
