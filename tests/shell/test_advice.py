"""What errors say to do next: at the command line, and at the prompt of a container."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ion import Container
from ion.shell.helpers.helpers import Helpers
from ion.shell.prompt.session import Session

RULES = "type: policy\nrules: [{allow: [hello.*, agent.*], to: [authenticated]}]\n"


@pytest.fixture(scope="module", params=["present", "required"])
def system(request, module_ioncc):
    """The words for a system that lets in nobody who does not say who they are."""
    ioncc, name = module_ioncc, request.param
    (ioncc.folder / "closed.yml").write_text(RULES)
    settings = {"identity.verify": name, "policy.file": "closed.yml", "policy.default": "deny"}
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    ioncc.serve("-n", "--listen", "-s", name, *sets, "hello").ready()
    return "-s", name


@pytest.mark.parametrize("words", [["ps"], ["health"], ["tail", "--no-follow"], ["kill", "x.1"]])
def test_who_has_the_key_looks_and_commands_as_the_system(module_ioncc, system, words, tmp_path):
    done = module_ioncc.run(*words, *system)
    assert (done.returncode, "--token-file" in done.stderr) == (4 if "x.1" in words else 0, False)
    done = module_ioncc.run(*words, *system, "--json", XDG_DATA_HOME=str(tmp_path))
    told = json.loads(done.stderr)
    assert (done.returncode, told["code"] in (401, 403)) == (1, True), done
    assert "--token-file FILE or ION_TOKEN" in told["message"]
    assert "--set identity.token=system" in told["message"]


def test_what_an_op_does_it_does_as_the_system_only_where_that_is_said(module_ioncc, system):
    words = ("call", "hello.hello", "text=x", *system)
    done = module_ioncc.run(*words)
    assert (done.returncode, "--set identity.token=system" in done.stderr) == (1, True), done
    done = module_ioncc.run(*words, "--set", "identity.token=system")
    assert (done.returncode, done.stdout) == (0, '"Hello there, x"\n'), done


def test_an_app_that_brings_what_is_not_there(module_ioncc, system):
    asked = ("--set", "identity.token=system")
    done = module_ioncc.run("call", "scheduler.tasks", *system, *asked)
    assert done.returncode == 4
    assert done.stderr.endswith(
        "; app 'scheduler' brings it: `ioncc scheduler`, on the same broker\n"
    )
    assert "brings it" not in module_ioncc.run("call", "nobody.tasks", *system, *asked).stderr


async def test_at_the_prompt_an_app_is_started_there():
    apps = sorted(path.stem for path in (Path(__file__).parents[2] / "res/apps").glob("*.app"))
    async with Container("memory://") as container:
        session = Session(Helpers(container).namespace())
        for line, app in (
            ("repos()", "datastore"),
            ("attrs()", "attributestore"),
            ("actors()", "identity"),
            ("schedule()", "scheduler"),
            ("resources()", "resource_registry"),
            ("events()", "events"),
            ("points()", "pubsub"),
            ("policy.history()", "policy"),
            ("streams()", "streams"),
            ("contexts()", "contexts"),
            ("svc.hello.hello()", "hello"),
        ):
            told = (await session.run(line)).complaint
            assert told.startswith(f"ServiceNotFound (404): no service {app!r} in this system")
            assert told.endswith(f"; app {app!r} brings it: await container.start_app({app!r})")
            assert app in apps
