type: application
name: mod_number
mod: 3
