type: application
name: alias_of_nothing
mod: json
config: {a: *b}
