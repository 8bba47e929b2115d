type: application
name: bad_intensity
processes: [{id: a, class: 'ion:Process'}]
supervision: {intensity: -1, period: 0}
