type: release
name: a_release
apps: [{name: hello}]
