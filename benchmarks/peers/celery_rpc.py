"""Celery: ``delay().get()`` with the ``rpc://`` result backend and a solo worker (JSON)."""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.signals import worker_ready

from benchmarks import load, role
from benchmarks.payload import record


def echo(content: Any) -> Any:
    return content


def application(url: str) -> Celery:
    app = Celery("celery_echo", broker=url, backend="rpc://")
    app.conf.task_default_queue = "celery_echo"
    app.conf.worker_hijack_root_logger = False
    app.conf.worker_redirect_stdouts = False
    app.task(name="echo")(echo)
    return app


def server(url: str) -> None:
    worker_ready.connect(lambda **_: role.say_ready(), weak=False)
    flags = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    application(url).worker_main(["worker", "--pool=solo", "--loglevel=ERROR", *flags])


def client(url: str, seconds: float) -> None:
    app, content = application(url), record()

    def issue() -> Any:
        return app.send_task("echo", args=(content,))

    def collect(result: Any) -> Any:
        return result.get(timeout=role.PATIENCE)

    assert collect(issue()) == content
    role.report(load.measure_all_futures(issue, collect, seconds))


if __name__ == "__main__":
    o = role.options()
    if o.role == "server":
        server(o.url)
    else:
        client(o.url, o.seconds)
