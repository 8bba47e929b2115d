type: application
name: dotted.name
mod: json
