type: application
name: byte_order_mark
modd: json
