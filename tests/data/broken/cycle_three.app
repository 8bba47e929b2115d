type: application
name: cycle_three
processes: [{id: a, class: 'ion:Process'}]
applications: [cycle_one]
