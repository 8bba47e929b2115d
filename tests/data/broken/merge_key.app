type: application
name: merge_key
config:
  one: &one {a: 1}
  two:
    <<: *one
mod: json
