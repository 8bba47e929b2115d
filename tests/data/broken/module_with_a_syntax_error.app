type: application
name: module_with_a_syntax_error
mod: broken_module
