type: application
name: two_documents
mod: json
---
type: application
name: second
