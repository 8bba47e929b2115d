"""The AMQP 0-9-1 transport: RabbitMQ through aio-pika, with a lean path for the busy channels.

aio-pika and aiormq own TCP, TLS, login, heartbeats, channels and topology. The frames of the
channels that carry messages are taken off before aiormq parses them (:mod:`.inbound`), and
written beside it through one buffer (:mod:`.wire`). ``lean=False`` leaves them to aio-pika.
"""
