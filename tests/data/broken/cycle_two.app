type: application
name: cycle_two
processes: [{id: a, class: 'ion:Process'}]
applications: [cycle_three]
