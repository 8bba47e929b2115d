type: application
name: python_tag
mod: json
config:
  run: !!python/object/apply:os.system ['true']
