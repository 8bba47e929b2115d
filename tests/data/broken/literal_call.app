# An app of the old kind.
{
 'type': 'application',
 'name': 'literal_call',
 'version': '0.1',
 'mod': ('json', []),
 'config': {'home': __import__('os').getcwd()},
}
