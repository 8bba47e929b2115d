"""A private RabbitMQ node, with a virtual host for every test.

The node runs with its Erlang shell on a pipe: an expression is evaluated there in a millisecond
(``rabbitmqctl`` takes a second to start), and the node ends with the pipe.
"""

from __future__ import annotations

import itertools
import os
import secrets
import subprocess
import time
from pathlib import Path

from ion.base.errors import StartError
from ion.testing.servers.private import START_TIMEOUT, PrivateServer, find_binary, free_port

_BOOT = Path(__file__).with_name("rabbitmq_boot.erl")
_SCRIPTS = "/usr/lib/rabbitmq/bin"  # those of the package; the ones in the PATH change the user
_VHOST_BATCH = 8
_USED_BATCH = 6
_EVAL_TIMEOUT = 30.0
_EVAL_QUICK = 0.02  # seconds; what takes longer is asked for less often
_USER = "guest"

# Empties a virtual host and tells whether it is as new then; one that is not so, is deleted. To
# make and delete one costs more than most tests do in it.
_EMPTIED = """
fun(V, User) ->
    Names = fun(Found) -> [element(2, One) || One <- Found] end,
    Given = fun(<<>>) -> true; (<<"amq.", _/binary>>) -> true; (_) -> false end,
    try
        [] = rabbit_connection_tracking:list(V),
        [] = rabbit_runtime_parameters:list(V) ++ rabbit_policy:list(V) ++ rabbit_policy:list_op(V),
        [[{user, User} | Rights]] = rabbit_auth_backend_internal:list_vhost_permissions(V),
        [<<".*">>, <<".*">>, <<".*">>] = [Right || {_, Right} <- Rights],
        [] = rabbit_auth_backend_internal:list_vhost_topic_permissions(V),
        [rabbit_amqqueue:delete(Q, false, false, User) || Q <- rabbit_amqqueue:list(V)],
        [rabbit_exchange:delete(X, false, User)
         || {resource, _, exchange, N} = X <- Names(rabbit_exchange:list(V)), not Given(N)],
        [] = rabbit_amqqueue:list(V) ++ rabbit_amqqueue:list_down(V),
        [] = rabbit_binding:list(V),
        true
    catch _:_ ->
        catch rabbit_vhost:delete(V, User),
        false
    end
end
"""


class RabbitServer(PrivateServer):
    """A RabbitMQ node of its own: name, cookie, epmd, ports and data.

    :ivar user: the login, an administrator.
    :ivar password: its password.
    """

    binary = "rabbitmq-server"
    package = "rabbitmq-server"

    def __init__(self) -> None:
        super().__init__()
        self.user = self.password = _USER
        self.node = f"ion-{secrets.token_hex(4)}@localhost"
        self._vhosts: list[str] = []
        self._used: list[str] = []
        self._numbers = itertools.count(1)

    def _take_ports(self) -> None:
        super()._take_ports()
        self._epmd_port = free_port()
        self._dist_port = free_port()

    def url(self, vhost: str = "/") -> str:
        """Return the AMQP URL of a virtual host."""
        name = "%2F" if vhost == "/" else vhost
        return f"amqp://{self.user}:{self.password}@{self.host}:{self.port}/{name}"

    def new_vhost(self) -> str:
        """Return an empty virtual host that nobody else has (they are made in batches)."""
        if len(self._used) >= _USED_BATCH:
            self._empty_used()
        if not self._vhosts:
            self._make_vhosts()
        return self._vhosts.pop()

    def give_back(self, vhost: str) -> None:
        """Take back a virtual host that nobody uses any more; it is emptied for somebody else.

        A node that is started again opens all it has one after the other: hundreds take minutes.
        """
        self._used.append(vhost)

    def eval(self, expression: str, timeout: float = _EVAL_TIMEOUT) -> str:
        """Evaluate an Erlang expression on the node and return its value as text.

        :raises StartError: the node does not run, no answer came within ``timeout`` seconds, or
            the expression failed.
        """
        process = self._process
        if process is None or process.stdin is None:
            message = "rabbitmq-server is not running"
            raise StartError(message)
        mark = secrets.token_hex(8)
        answer = self.folder / f"answer-{mark}"
        # The value goes to a file under a name that appears at once: the shell's own output is
        # mixed with the node's logs.
        line = (
            f'(fun() -> V = try {expression} catch C:R -> {{"{mark}", C, R}} end, '
            f'ok = file:write_file("{answer}.part", io_lib:format("~0tp", [V])), '
            f'ok = file:rename("{answer}.part", "{answer}") end)().\n'
        )
        process.stdin.write(line.encode())
        process.stdin.flush()
        asked = time.monotonic()
        while not answer.exists():
            waited = time.monotonic() - asked
            if waited > timeout or not self.running:
                message = f"no answer from {self.node} to: {expression}"
                raise StartError(message)
            time.sleep(0.001 if waited < _EVAL_QUICK else 0.02)
        text = answer.read_text()
        answer.unlink()
        if mark in text:
            message = f"{expression}: {text}"
            raise StartError(message)
        return text

    def ctl(self, *words: str) -> str:
        """Run ``rabbitmqctl`` with these words and return its output (takes a second or more).

        :raises StartError: it failed; the message is its output.
        """
        command = [find_binary("rabbitmqctl", self.package, _SCRIPTS), "-q", *words]
        done = subprocess.run(
            command, env=self._environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            message = f"rabbitmqctl {' '.join(words)}: {done.stdout}{done.stderr}"
            raise StartError(message)
        return done.stdout

    def close_connections(self, reason: str = "closed by a test") -> None:
        """Have the broker close all client connections (320 CONNECTION_FORCED)."""
        self.eval(
            '[rabbit_networking:close_connection(P, <<"' + reason + '">>) '
            "|| P <- rabbit_networking:connections()], ok"
        )

    def set_memory_alarm(self, on: bool) -> None:
        """Raise or clear the memory alarm: while it is on, the broker takes no publishes."""
        self._set_alarm("memory", on)

    def set_disk_alarm(self, on: bool) -> None:
        """Raise or clear the disk alarm: while it is on, the broker takes no publishes."""
        self._set_alarm("disk", on)

    def _set_alarm(self, resource: str, on: bool) -> None:
        alarm = f"{{resource_limit, {resource}, node()}}"
        call = f"set_alarm({{{alarm}, []}})" if on else f"clear_alarm({alarm})"
        # An alarm is only noted here; the question after it is answered once all connections have
        # been told. One that publishes before that is not blocked, and hears nothing until it
        # publishes again.
        self.eval(f"begin rabbit_alarm:{call}, rabbit_alarm:get_alarms(), ok end")

    def start(self, timeout: float = START_TIMEOUT) -> None:
        """Start on the same ports and data; return when it serves. Nothing where it runs.

        :raises StartError: not installed, or not up within ``timeout`` seconds.
        """
        if self.running:
            return
        super().start(timeout)
        self.eval("rabbit:await_startup()", timeout)

    def _launch(self) -> subprocess.Popen[bytes]:
        server = find_binary(self.binary, self.package, _SCRIPTS)
        if not self._helpers:
            epmd = [find_binary("epmd", "erlang-base"), "-port", str(self._epmd_port)]
            self._helpers.append(self._popen(epmd, env=self._environment()))
        (self.folder / "plugins").write_text("[].\n")
        return self._popen([server], env=self._environment(), stdin=subprocess.PIPE)

    def _environment(self) -> dict[str, str]:
        folder = str(self.folder)
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LANG": "C.UTF-8",
            "HOME": folder,  # the Erlang cookie is there
            "ERL_EPMD_ADDRESS": self.host,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_ALLOW_INPUT": "1",  # the Erlang shell on standard input
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_IP_ADDRESS": self.host,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": f"{folder}/none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            # The scripts of the package start an Erlang node and no more; the rest is in _BOOT.
            "RABBITMQ_NODE_ONLY": "1",
            "ION_BOOT": str(_BOOT),  # a path with spaces could not be among the arguments
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                '-rabbit disk_free_limit 1000000 -eval file:script(os:getenv("ION_BOOT"))'
            ),
        }

    def _make_vhosts(self) -> None:
        names = [f"t{next(self._numbers)}" for _ in range(_VHOST_BATCH)]
        listed = ",".join(f'<<"{name}">>' for name in names)
        user, everything = f'<<"{self.user}">>', '<<".*">>'
        self.eval(
            f"[begin rabbit_vhost:add(V, {user}), rabbit_auth_backend_internal:set_permissions("
            f"{user}, V, {everything}, {everything}, {everything}, {user}) end || V <- [{listed}]]"
        )
        self._vhosts = names[::-1]

    def _empty_used(self) -> None:
        listed = ",".join(f'<<"{name}">>' for name in self._used)
        emptied = self.eval(
            f'(fun(Empty) -> [V || V <- [{listed}], Empty(V, <<"{self.user}">>)] end)({_EMPTIED})'
        )
        self._vhosts[:0] = [name for name in self._used if f'"{name}"' in emptied]
        self._used.clear()
