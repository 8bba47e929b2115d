# An app of the old kind.
{
 'type': 'application',
 'name': 'literal_unclosed',
 'version': '0.1',
 'mod': ('json', [],
}
