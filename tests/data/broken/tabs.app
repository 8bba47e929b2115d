type: application
name: tabs
processes:
	- {id: a, class: ion:Process}
