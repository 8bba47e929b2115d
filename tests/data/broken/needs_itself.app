type: application
name: needs_itself
mod: [ion.services.hello.service.HelloService]
applications: [needs_itself]
