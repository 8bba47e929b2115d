type: application
name: needs_missing
applications: [ioncore, hello, helo]
