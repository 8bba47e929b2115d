type: application
name: misspelt_key
modd: json
