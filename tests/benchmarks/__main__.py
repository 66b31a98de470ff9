"""Measure fungrad beside other systems: ``python -m tests.benchmarks``.

Every system and workload has a process of its own. All processes of a workload live at once and
compute one after the other, round by round (A B C A B C …), so that what disturbs the machine
disturbs all of them. Results are compared with the hand-written gradient's before any timing.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks import table
from tests.benchmarks.record import Workload
from tests.benchmarks.systems import SYSTEMS
from tests.benchmarks.workloads import WORKLOADS

ROOT = Path(__file__).parents[2]


class WorkerError(Exception):
    """A worker failed; the text is for the table."""


class Worker:
    """A process that measures one system on one workload."""

    def __init__(self, system: str, workload: str, options: argparse.Namespace, home: str) -> None:
        threads = options.thread_count
        self.results = f"{home}/{system}.npz"
        self._log = open(f"{home}/{system}.log", "w+")  # noqa: SIM115  (closed by `close`)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.worker"]
            + [system, workload, str(threads), options.preset, options.clock, self.results],
            cwd=ROOT,
            env=_environment(threads, home, system),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def ask(self, timeout: float, **request: Any) -> dict[str, Any]:
        """The answer to a request; ``WorkerError`` if the process died or takes too long."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            print(json.dumps(request), file=process.stdin, flush=True)
        except BrokenPipeError:
            raise WorkerError(self._complaint()) from None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout):
                self.close()
                raise WorkerError(f"more than {timeout:.0f} s")
        line = process.stdout.readline()
        if not line:
            raise WorkerError(self._complaint())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _complaint(self) -> str:
        """The last line of what the process said before it died."""
        self._process.wait()
        self._log.seek(0)
        lines = [line.strip() for line in self._log if line.strip()]
        return lines[-1][:200] if lines else f"ended with status {self._process.returncode}"

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._log.close()


def _environment(threads: int, home: str, system: str) -> dict[str, str]:
    """Thread counts, and fresh caches for whatever a compiler keeps on disk."""
    environment = dict(os.environ)
    for name in ("OMP", "MKL", "OPENBLAS", "BLIS", "VECLIB_MAXIMUM", "NUMEXPR", "NUMBA"):
        environment[f"{name}_NUM_THREADS"] = str(threads)
    environment["NPROC"] = str(threads)
    if threads == 1:
        environment["XLA_FLAGS"] = (
            "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        )
    environment["TORCHINDUCTOR_CACHE_DIR"] = f"{home}/{system}"
    environment["NUMBA_CACHE_DIR"] = f"{home}/{system}"
    environment["PYTENSOR_FLAGS"] = f"base_compiledir={home}/{system}"
    return environment


def measure(workload: Workload, systems: Sequence[str], options: argparse.Namespace) -> list[Any]:
    """One cell for each system: a dict with what was measured, or why it was not."""
    cells: dict[str, dict[str, Any]] = {name: {} for name in systems}
    workers: dict[str, Worker] = {}
    with tempfile.TemporaryDirectory() as home:
        try:
            for name in systems:
                if name in workload.without:
                    cells[name]["missing"] = "not offered"
                    continue
                workers[name] = _started(name, workload, cells[name], options, home)
            _check(workload, workers, cells)
            for name in _healthy(workers, cells):
                warm: list[dict[str, Any]] = []
                _try(workers[name], cells[name], warm, options, {"do": "warm"})
                cells[name].update(*warm)
            rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
            for _ in range(options.rounds):
                for name in _healthy(workers, cells):
                    request = {"do": "round", "seconds": options.seconds}
                    if workload.calls:
                        request["calls"] = (workload.calls - 3) // options.rounds
                    _try(workers[name], cells[name], rounds[name], options, request)
            for name in _healthy(workers, cells):
                medians = [each["seconds"] for each in rounds[name]]
                cells[name]["seconds"] = statistics.median(medians)
                cells[name]["spread"] = [min(medians), max(medians)]
                memory: list[dict[str, Any]] = []
                _try(workers[name], cells[name], memory, options, {"do": "memory"})
                cells[name]["bytes"] = memory[0]["bytes"] if memory else None
        finally:
            for worker in workers.values():
                worker.close()
    return [
        {"workload": workload.name, "system": name, "threads": options.thread_count, **cell}
        for name, cell in cells.items()
    ]


def _started(
    name: str, workload: Workload, cell: dict[str, Any], options: argparse.Namespace, home: str
) -> Worker:
    """A worker after its first call; short first calls are repeated, each in a fresh process."""
    firsts: list[dict[str, Any]] = []
    while True:
        worker = Worker(name, workload.name, options, home)
        _try(worker, cell, firsts, options, {"do": "first"})
        if "missing" in cell or len(firsts) >= options.firsts or firsts[0]["seconds"] > 1:
            break
        worker.close()
    if firsts:
        cell["first"] = statistics.median(each["seconds"] for each in firsts)
    return worker


def _try(worker: Worker, cell: Any, answers: list[Any], options: Any, request: Any) -> None:
    try:
        answers.append(worker.ask(options.timeout, **request))
    except WorkerError as error:
        cell["missing"] = str(error)


def _healthy(workers: dict[str, Worker], cells: dict[str, dict[str, Any]]) -> list[str]:
    return [name for name in workers if "missing" not in cells[name]]


def _check(
    workload: Workload, workers: dict[str, Worker], cells: dict[str, dict[str, Any]]
) -> None:
    """Results that differ from the hand-written gradient's are no results."""
    expected = _arrays(workers["manual"].results)
    for name in _healthy(workers, cells):
        problem = difference(expected, _arrays(workers[name].results), workload.tolerance)
        if problem:
            cells[name]["missing"] = f"wrong: {problem}"


def _arrays(path: str) -> list[Any]:
    with np.load(path) as file:
        return [file[f"arr_{i}"] for i in range(len(file.files))]


def difference(expected: Sequence[Any], actual: Sequence[Any], tolerance: float) -> str:
    """What is wrong with results, in words; empty if nothing is."""
    if len(expected) != len(actual):
        return f"{len(actual)} results for {len(expected)}"
    for i, (want, got) in enumerate(zip(expected, actual, strict=True)):
        if want.shape != got.shape or want.dtype != got.dtype:
            return f"result {i} is {got.dtype}{got.shape}, not {want.dtype}{want.shape}"
        scale = np.max(np.abs(want), initial=np.finfo(want.dtype).tiny)
        error = np.max(np.abs(got - want), initial=0) / scale
        if not error <= tolerance:
            return f"result {i} is off by {error:.1e}"
    return ""


def import_times(systems: Sequence[str], repeats: int, clock: str) -> dict[str, float]:
    """Seconds to import each system in a fresh process, NumPy included; medians."""
    times: dict[str, list[float]] = {name: [] for name in systems}
    code = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for turn in range(repeats + 1):  # the first one writes bytecode
        for name in systems:
            command = [sys.executable, "-c", code.format(SYSTEMS[name].modules[0])]
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
            )
            if turn and done.returncode == 0:
                times[name].append(float(done.stdout.split()[-1]))
    return {name: statistics.median(values) for name, values in times.items() if values}


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    add = parser.add_argument
    add("--only", nargs="+", metavar="NAME", choices=list(WORKLOADS), default=list(WORKLOADS))
    add("--systems", nargs="+", metavar="NAME", choices=list(SYSTEMS), default=list(SYSTEMS))
    add("--threads", nargs="+", type=int, default=[1, 2])
    add("--rounds", type=int, default=7, help="how often each system has its turn")
    add("--seconds", type=float, default=0.3, help="how long a turn lasts")
    add("--firsts", type=int, default=3, help="fresh processes for first calls under a second")
    add("--timeout", type=float, default=180.0, help="the longest that any step may take, seconds")
    add("--preset", choices=("full", "tiny"), default="full", help="tiny: sizes for a smoke test")
    add("--quick", action="store_true", help="3 rounds of 0.1 s, one first call")
    add("--busy", action="store_true", help="on a busy machine: time of the processor, 1 thread")
    add("--page", type=Path, metavar="FILE", help="write the tables there")
    add("--out", type=Path, metavar="DIR", help="write benchmarks.md, benchmarks.png, results.json")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds, options.firsts = 3, 0.1, 1
    options.clock = "process_time" if options.busy else "perf_counter"
    if options.busy:
        options.threads = [1]
    # The hand-written gradient is what all others are compared with.
    options.systems = list(dict.fromkeys(["manual", *options.systems]))
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write what was asked for."""
    options = parsed(arguments)
    imports = import_times(options.systems, 1 if options.quick else 5, options.clock)
    missing = [name for name in options.systems if name not in imports]
    if missing:
        print(f"not installed: {', '.join(missing)}", file=sys.stderr)
    systems = [name for name in options.systems if name in imports]
    words = list(sys.argv[1:] if arguments is None else arguments)
    for place in ("--out", "--page"):
        if place in words:
            del words[words.index(place) : words.index(place) + 2]
    command = " ".join(["python -m tests.benchmarks", *words])
    cells: list[dict[str, Any]] = []
    for threads in options.threads:
        options.thread_count = threads
        for name in options.only:
            start = time.perf_counter()
            cells += measure(WORKLOADS[name], systems, options)
            done = table.row(WORKLOADS[name], systems, cells, threads)
            seconds = time.perf_counter() - start
            print(f"{threads} {name:16} {done}  ({seconds:.0f} s)", file=sys.stderr, flush=True)
            _write(options, cells, systems, imports, command)  # what is measured is not lost
    print(table.report(cells, systems, imports, command))


def _write(
    options: argparse.Namespace,
    cells: list[dict[str, Any]],
    systems: list[str],
    imports: dict[str, float],
    command: str,
) -> None:
    report = table.report(cells, systems, imports, command)
    if options.page:
        options.page.write_text(report)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "benchmarks.md").write_text(report)
        data = {"cells": cells, "imports": imports}
        (options.out / "results.json").write_text(json.dumps(data, indent=1))
        table.plot(cells, systems, options.out / "benchmarks.png")


if __name__ == "__main__":
    main()
