type: application
name: duplicate_id
processes:
  - {id: a, class: 'ion:Process'}
  - {id: b, class: 'ion:Process'}
  - {id: a, class: 'ion:Process'}
