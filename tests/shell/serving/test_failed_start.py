"""`ioncc` whose start fails: nothing of what it had begun runs on, here or elsewhere."""

from __future__ import annotations

import shutil

import pytest

pytestmark = pytest.mark.amqp

BAD = """
import asyncio

async def start(container, start_type, app):
    async with asyncio.timeout(15):
        while (await container.transport.queue_info("sys.lease.alone")).consumers < 2:
            await asyncio.sleep(0.05)
    raise RuntimeError("as told")

async def stop(container, state):
    pass
"""


def test_a_failover_app_that_it_began_is_not_taken_over(ioncc, rabbitmq_server):
    ioncc.app("alone")
    with (ioncc.folder / "alone.app").open("a") as file:
        file.write("failover: true\nstart_type: permanent\n")
    own = ioncc.folder / "res" / "apps" / "alone.app"  # where the other one finds it by its name
    own.parent.mkdir(parents=True)
    shutil.copy(ioncc.folder / "alone.app", own)
    (ioncc.folder / "bad.py").write_text(BAD)
    (ioncc.folder / "bad.app").write_text("type: application\nname: bad\nmod: bad\n")
    words = ("-n", "-b", rabbitmq_server.url(rabbitmq_server.new_vhost()), "-s", "sys")
    other = ioncc.serve(*words)
    other.ready()
    done = ioncc.run(*words, "alone.app", "bad.app")
    assert done.returncode == 1
    assert "as told" in done.stderr
    with_others = other.wait_for("app alone (was stopped by|is taken over)")
    assert with_others[1] == "was stopped by"
    assert other.end() == 0
    assert ioncc.notes() == ["start ", "stopping", "stopped"]
