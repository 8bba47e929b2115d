type: aplication
name: other_type
mod: json
