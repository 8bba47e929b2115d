# An app of the old kind.
{
 'type': 'application',
 'name': 'literal_bare_name',
 'version': '0.1',
 'mod': (json, []),
}
