type: application
name: significant_permanent
processes:
  - {id: a, class: 'ion:Process', significant: true}
supervision: {auto_shutdown: any_significant}
