type: application
name: no_start_and_stop
mod: json
