type: application
name: bad_indent
config:
  station: north
   unit: C
mod: json
