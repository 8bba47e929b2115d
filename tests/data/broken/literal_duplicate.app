# An app of the old kind.
{
 'type': 'application',
 'name': 'literal_duplicate',
 'version': '0.1',
 'mod': ('json', []),
 'version': '0.2',
}
