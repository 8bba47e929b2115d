"""`ioncc check --plan`: what a release would start, and every problem at once."""

from __future__ import annotations

import json

REL = """
type: release
name: all
apps:
  - name: noting
    config: {station: south}
"""


def test_the_plan_for_people_and_for_programs(ioncc):
    ioncc.app("noting")
    (ioncc.folder / "all.rel").write_text(REL)
    done = ioncc.run("check", "--plan", "all.rel", "--set", "apps.noting.station=west")
    assert done.returncode == 0, done.stdout + done.stderr
    first, *rest = done.stdout.splitlines()
    assert first == "1. noting 1.0.0 (temporary) from noting.app"
    assert "   runs actors:Noting" in rest
    assert '   config station = "west" from --set apps.noting.station, over "south" from' in (
        done.stdout
    )
    assert rest[-1] == "1 file, 0 errors, 0 warnings"
    said = json.loads(ioncc.run("check", "--plan", "--json", "all.rel").stdout)
    assert [app["app"] for app in said["plan"]] == ["noting"]
    assert said["findings"] == []


def test_every_problem_at_once(ioncc):
    ioncc.app("noting")
    (ioncc.folder / "all.rel").write_text(REL.replace("south}", "south}\n  - name: notign"))
    (ioncc.folder / "ionlocal.yml").write_text("container.sysnam: x\n")
    done = ioncc.run("check", "--plan", "--json", "all.rel")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert said["plan"] == []
    assert {(finding["file"], finding["line"]) for finding in said["findings"]} == {
        ("all.rel", 7),
        ("ionlocal.yml", 1),
    }
