name: no_type
mod: json
