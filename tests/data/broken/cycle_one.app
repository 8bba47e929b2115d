type: application
name: cycle_one
processes: [{id: a, class: 'ion:Process'}]
applications: [cycle_two]
