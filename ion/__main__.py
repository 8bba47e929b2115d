"""``python -m ion`` is ``ioncc``."""

from __future__ import annotations

import sys

from ion.shell.main import main

if __name__ == "__main__":
    sys.exit(main())
