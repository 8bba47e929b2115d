type: application
name: bad_restart
processes:
  - {id: a, class: 'ion:Process', restart: permant}
