"""The memory bus, listening: an AMQP 0-9-1 server on loopback over a broker in memory.

For one machine: a second container, scripts and any AMQP client in any language reach the bus of a
container that runs without RabbitMQ. Each connection is one session of the memory broker, so all
that queues and exchanges do is done there; here are only the frames, and the manners of a server.
What is not here: persistence (the bus dies with its container), TLS, clusters, transactions,
bindings of exchanges to exchanges, exchanges of kind ``headers``.
"""
