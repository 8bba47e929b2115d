type: application
name: latin1
description: Café
mod: json
