"""One part of the work on one side, as a program of its own: ``side.py MODULE FOLDER PART``.

MODULE is ``wrp_cee`` (IOWarp 1.x), ``clio_cee`` (2.x) or ``ion.services.contexts``: the work is the
same, only the import differs. It uses the standard library alone, as it runs in the environments of
the peers, and prints its figures as they come, a line of JSON each: 1.0.3 crashes now and then, and
loses no more by it than what comes after. PART is ``small``, or the size of a file in MiB.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path

OURS = "ion.services.contexts"
MIB = 1 << 20
LARGE = {1: 7, 16: 3, 128: 1}  # MiB -> how often it is measured
SMALL = 500
QUERIES = 40


def main(module: str, folder: str, part: str) -> None:
    """Do the work, and print what it took."""
    side = Side(_imported(module), Path(folder))
    side.warm_up()
    if part == "small":
        side.small()
    else:
        side.large(int(part), LARGE[int(part)])
    side.found(peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    if side.is_peer:
        os._exit(0)  # 1.0.3 crashes when Python takes itself down


def _imported(module: str):
    if module != OURS:
        importlib.import_module("iowarp_core")  # sets the paths of its libraries
    return importlib.import_module(module)


class Side:
    """An interface, and the figures that were measured with it."""

    def __init__(self, cee, folder: Path) -> None:
        self.cee, self.folder = cee, folder
        self.is_peer = cee.__name__ != OURS
        started = time.perf_counter()
        self.api = cee.ContextInterface()
        self.api.context_query("nothing", "at_all")
        self.found(start_s=time.perf_counter() - started)

    def found(self, **figures: float) -> None:
        """Print figures."""
        sys.stdout.write("\n" + json.dumps(figures) + "\n")
        sys.stdout.flush()

    def item(self, name: str, tag: str):
        return self.cee.AssimilationCtx(
            src=f"file::{self.folder / name}", dst=f"iowarp::{tag}", format="binary"
        )

    def warm_up(self) -> None:
        for turn in range(3):
            good(self.api.context_bundle([self.item("small_0", f"warm_{turn}")]) == 0)
            good(len(self.api.context_retrieve(f"warm_{turn}", "chunk_.*")) == 1)
            good(self.api.context_destroy([f"warm_{turn}"]) == 0)

    def small(self) -> None:
        """500 files of 4 KiB in one bundle, each a tag of its own: 1,000 blobs."""
        items = [self.item(f"small_{n}", f"small_{n}") for n in range(SMALL)]
        tags = [f"small_{n}" for n in range(SMALL)]
        taken, code = timed(self.api.context_bundle, items)
        good(code == 0)
        self.found(bundle_small_per_s=SMALL / taken)
        self._median("query_one_ms", QUERIES, 1, lambda n: (f"small_{n}", "chunk_0"))
        self._median("query_tag_ms", QUERIES, 2, lambda n: (f"small_{n}", ".*"))
        self._median("query_none_ms", QUERIES, 0, lambda _: ("nothing_here", ".*"))
        self._median("query_all_ms", 3, 2 * SMALL, lambda _: (".*", ".*"))
        times = []
        for n in range(QUERIES):
            taken, got = timed(self.api.context_retrieve, f"small_{n}", "chunk_0")
            good(len(got[0]) == 4096)
            times.append(taken)
        self.found(retrieve_4k_ms=statistics.median(times) * 1e3)
        times = []
        for _ in range(3):
            taken, got = timed(self.api.context_retrieve, "small_.*", "chunk_0")
            good(len(got[0]) == SMALL * 4096)
            times.append(taken)
        self.found(retrieve_500_ms=statistics.median(times) * 1e3)
        taken, code = timed(self.api.context_destroy, tags)
        good(code == 0)
        self.found(destroy_per_s=SMALL / taken)

    def large(self, size: int, times: int) -> None:
        """A file of ``size`` MiB, bundled, retrieved and destroyed."""
        name = f"large_{size}"
        seen: dict[str, list[float]] = {"bundle": [], "retrieve": [], "destroy": []}
        for _ in range(times):
            taken, code = timed(self.api.context_bundle, [self.item(name, name)])
            good(code == 0)
            seen["bundle"].append(taken)
            self.found(**{f"bundle_{size}_mib_s": size / statistics.median(seen["bundle"])})
            seen["retrieve"].append(self._retrieved(name, size * MIB))
            self.found(**{f"retrieve_{size}_mib_s": size / statistics.median(seen["retrieve"])})
            taken, code = timed(self.api.context_destroy, [name])
            good(code == 0)
            seen["destroy"].append(taken)
            self.found(**{f"destroy_{size}_ms": statistics.median(seen["destroy"]) * 1e3})

    def _retrieved(self, name: str, size: int) -> float:
        """Retrieve a file; 1.0.3 may give less, or bytes that it has not read: it is told of.

        The time is that of what it did give: what is wrong is no faster for it.
        """
        began = time.perf_counter()
        try:
            got = self.api.context_retrieve(name, "chunk_.*")
            is_right = len(got[0]) == size
        except UnicodeDecodeError:
            is_right = False
        taken = time.perf_counter() - began
        if not is_right:
            good(self.is_peer)
            self.found(wrong=1)
        return taken

    def _median(self, figure: str, times: int, found: int, patterns) -> None:
        seen = []
        for n in range(times):
            taken, names = timed(self.api.context_query, *patterns(n), 0)
            good(len(names) == found)
            seen.append(taken)
        self.found(**{figure: statistics.median(seen) * 1e3})


def timed(call, *args):
    """Return how long a call took, seconds, and what it gave."""
    began = time.perf_counter()
    result = call(*args)
    return time.perf_counter() - began, result


def good(holds: bool) -> None:
    """A side that gives something else is not measured."""
    if not holds:
        message = "the side has given something else than was asked for"
        raise RuntimeError(message)


if __name__ == "__main__":
    main(*sys.argv[1:])
