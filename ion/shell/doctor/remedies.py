"""Commands that help, as they can be typed in a shell."""

from __future__ import annotations

from shlex import quote


def permit(vhost: str, user: str) -> str:
    """Return what lets a user do everything on a vhost."""
    return f'rabbitmqctl set_permissions -p {quote(vhost)} {quote(user)} ".*" ".*" ".*"'


def own_user(vhost: str) -> str:
    """Return what makes a user to replace ``guest``."""
    return f"rabbitmqctl add_user ion PASSWORD; {permit(vhost, 'ion')}"


def delete_queue(vhost: str, name: str) -> str:
    """Return what deletes a queue, with what is in it."""
    return f"rabbitmqctl delete_queue -p {quote(vhost)} {quote(name)}"


def delete_exchange(vhost: str, name: str) -> str:
    """Return what deletes an exchange; rabbitmqctl has no word for it."""
    resource = f'rabbit_misc:r(<<"{vhost}">>, exchange, <<"{name}">>)'
    expression = f'rabbit_exchange:delete({resource}, false, <<"doctor">>).'
    return f"rabbitmqctl eval {quote(expression)}"
