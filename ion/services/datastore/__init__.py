"""The datastore service: repositories of objects, which any process clones, pulls and pushes."""
