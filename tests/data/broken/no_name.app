type: application
mod: json
