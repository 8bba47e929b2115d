type: application
name: twin
processes: [{id: a, class: 'ion:Process'}]
