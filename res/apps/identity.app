# Actors, credentials, roles and tokens, on the datastore that store.url names.
type: application
name: identity
version: 0.1.0
description: Who there is in the system, and the tokens that say whose a call is
processes:
  - {id: identity, class: "ion.services.identity.service:IdentityService"}
registered: [identity]
config:
  store: identity           # name of the index store
  token_life: 900.0         # seconds that a token is good for
  session_life: 43200.0     # seconds for which tokens are renewed without proving oneself again
  key_file: null            # of a private key of its own (made where there is none); null: tokens
                            # are signed with the key of the system, which all containers trust
  remind_every: 10.0        # seconds between two reminders of what is revoked
