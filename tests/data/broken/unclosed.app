type: application
name: unclosed
applications: [hello, ioncore
mod: json
