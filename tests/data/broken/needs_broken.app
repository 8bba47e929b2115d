type: application
name: needs_broken
applications: [bad_restart]
