type: application
name: bad_backoff
processes: [{id: a, class: 'ion:Process'}]
supervision:
  backoff: {first: 0.1, factor: 0.5, frist: 1}
