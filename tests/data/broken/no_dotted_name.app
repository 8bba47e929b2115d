type: application
name: no_dotted_name
mod: lab port
