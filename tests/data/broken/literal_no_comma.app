# An app of the old kind.
{
 'type': 'application',
 'name': 'literal_no_comma',
 'version': '0.1',
 'mod': ('json', [])
 'registered': [],
}
