# An app of the old kind.
{
 'type': 'application',
 'name': 'literal_three_parts',
 'version': '0.1',
 'mod': ('ion.core.pack.processapp', ['only', ], {}),
}
