type: application
name: duplicate_key
mod: json
config: {a: 1}
version: 0.1.0
config: {a: 2}
