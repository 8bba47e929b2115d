type: application
name: wrong_types
version: [1]
modules: json
registered: 3
applications: {hello: 1}
config: none
start_type: always
