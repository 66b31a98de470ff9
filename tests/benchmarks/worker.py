"""One process: one system, one workload, one number of threads.

It answers one line of JSON per line on its standard input; the driver reads them one at a time, so
that no two workers ever compute at once.

``{"do": "first"}``   the first evaluation → seconds, the results' file
``{"do": "warm"}``    evaluate a few times more, until everything that gets compiled is
``{"do": "round", "seconds": s}``   evaluate again and again → seconds per call, over the round
``{"do": "memory"}``  evaluate once → bytes at the peak, beyond those before
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import sys
import time
import tracemalloc
from typing import Any

import numpy as np

from tests.benchmarks.record import Workload, flat
from tests.benchmarks.systems import SYSTEMS, Run, System
from tests.benchmarks.workloads import WORKLOADS

clock = time.perf_counter

WARM_CALLS, WARM_SECONDS = 16, 20
"""When everything is compiled: fungrad compiles very long programs at the sixteenth call."""
SAMPLE_SECONDS = 2e-3
"""How long one measurement takes at least, so that the clock's own cost does not show."""


def main(
    system_name: str, workload_name: str, threads: str, preset: str, clock_name: str, results: str
) -> None:
    """Serve until standard input ends."""
    global clock
    clock = getattr(time, clock_name)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    workload = WORKLOADS[workload_name]
    system = SYSTEMS[system_name](int(threads))
    size = workload.tiny if preset == "tiny" else workload.size
    run = system.prepare(workload, workload.inputs(np.random.default_rng(0), size))
    before = _resident()
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "first":
            answer = _first(system, run, results)
        elif request["do"] == "warm":
            answer = _warm(run)
        elif request["do"] == "round":
            answer = _round(run, request["seconds"], request.get("calls", 0))
        else:
            answer = _memory(system, workload, run, before)
        print(json.dumps(answer), file=answers, flush=True)


def _first(system: System, run: Run, results: str) -> dict[str, Any]:
    start = clock()
    result = run()
    seconds = clock() - start
    arrays = [system.numpy(array) for array in flat(result)]
    np.savez(results, *arrays)
    return {"seconds": seconds, "import": system.import_seconds}


def _warm(run: Run) -> dict[str, Any]:
    start = clock()
    run()
    second = clock() - start
    for _ in range(WARM_CALLS):
        if clock() - start > WARM_SECONDS:
            break
        run()
    return {"second": second}


def _round(run: Run, seconds: float, calls: int) -> dict[str, Any]:
    """Seconds per call: the median of the round's samples, each of several calls."""
    samples: list[float] = []
    done, batch = 0, 1
    gc.collect()
    end = clock() + seconds
    while True:
        start = clock()
        for _ in range(batch):
            run()
        now = clock()
        done += batch
        if now - start < SAMPLE_SECONDS / 2 and not calls and batch < 100_000:
            batch *= 2
            if samples:
                samples.append((now - start) / batch * 2)
            continue
        samples.append((now - start) / batch)
        if now > end or (calls and done >= calls):
            return {"seconds": statistics.median(samples), "best": min(samples), "calls": done}


def _memory(system: System, workload: Workload, run: Run, before: int) -> dict[str, Any]:
    if system.counts_memory:
        system.release()
        tracemalloc.start()
        start = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        run()
        peak = tracemalloc.get_traced_memory()[1] - start
        tracemalloc.stop()
        return {"bytes": peak}
    # Others allocate where only the system sees it: how far memory rose above the bare inputs.
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return {"bytes": None}
    run()
    return {"bytes": max(_status("VmHWM") - before, 0)}


def _resident() -> int:
    return _status("VmRSS")


def _status(field: str) -> int:
    """A line of Linux' /proc/self/status, in bytes; 0 elsewhere."""
    try:
        with open("/proc/self/status") as file:
            for line in file:
                if line.startswith(field):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


if __name__ == "__main__":
    main(*sys.argv[1:])
