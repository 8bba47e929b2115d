# Data from files, HDF5 and elsewhere, as blobs under tags, on the datastore that store.url names.
type: application
name: contexts
version: 0.1.0
description: Assimilates contexts, finds them by patterns, gives them back, and destroys them
processes:
  - {id: contexts, class: "ion.services.contexts.service:ContextsService"}
registered: [contexts]
config:
  # sources may be read below these: by default the working, the temporary and the home folder;
  # the beginning of a URL lets that be read: [/data, "https://data.example.org/"]
  # roots: [/data]
  files: auto               # larger contents: beside an SQLite store; store: in the store; a folder
  workers: 4                # threads that read
  max_tag: 68719476736      # bytes of one tag
  sweep: 60                 # seconds between two removals of what nobody needs
  abandoned: 120            # seconds after which what was broken off is removed
  linger: 30                # seconds that what was destroyed stays for who is reading it
  events: true
