"""The memory transport: the AMQP 0-9-1 model as RabbitMQ 3.10 has it, in one OS process.

The broker is a pure core (``broker``, ``queue``, ``exchange``...: a clock is given to it, and it
calls back); ``transport`` is its face to the rest of ION. Where messages are concerned it never
calls back from within a call back: deliveries that follow from a delivery wait for its end.
"""
