"""`ioncc` where an app ends by itself: by its start_type, that is the end of the container."""

from __future__ import annotations

import pytest

MODULE = '''
import asyncio
from ion import Process

class Short(Process):
    """Ends soon."""
    def __init__(self, fail):
        self.fail_soon = fail

    async def on_activate(self):
        self.run(self.soon())

    async def soon(self):
        await asyncio.sleep(0.3)
        if self.fail_soon:
            raise RuntimeError("no disk")
        await self.terminate()
'''
APP = """
type: application
name: short
processes:
  - {{id: p, class: "short_module:Short", args: {{fail: {fail}}}, restart: transient,
     significant: true}}
supervision: {{intensity: 0, auto_shutdown: any_significant}}
start_type: permanent
"""


@pytest.mark.parametrize(("fail", "code"), [("true", 1), ("false", 0)])
def test_the_end_of_a_permanent_app_is_that_of_ioncc(ioncc, fail, code):
    (ioncc.folder / "short_module.py").write_text(MODULE)
    (ioncc.folder / "short.app").write_text(APP.format(fail=fail))
    serving = ioncc.serve("-n", "short.app")
    serving.ready()
    assert serving.end(None) == code
    said = [line for line in serving.lines if line.startswith("ioncc: ")]
    if not code:
        assert said == []
        return
    (line,) = said
    assert line.startswith("ioncc: permanent app 'short' has ended: child 'p' died")
    assert "no disk" in line
