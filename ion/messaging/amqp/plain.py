"""PLACEHOLDER"""
from ion.messaging.amqp.lean import LeanPath as PlainPath
