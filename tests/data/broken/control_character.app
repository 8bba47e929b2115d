type: application
name: control_character
description: ab
mod: json
