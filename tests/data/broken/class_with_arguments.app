type: application
name: class_with_arguments
mod: ['ion.services.hello.service:HelloService', [1, 2]]
