type: application
name: starts_nothing
description: starts nothing
