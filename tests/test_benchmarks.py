"""The benchmarks at sizes that take milliseconds: same results everywhere, and a table of them."""

import numpy as np
import pytest

import fungrad as fg
from tests.benchmarks import compile_time
from tests.benchmarks.__main__ import difference, main
from tests.benchmarks.record import Workload, flat
from tests.benchmarks.systems import Fungrad, FungradJit, Manual
from tests.benchmarks.table import report
from tests.benchmarks.workloads import WORKLOADS


@pytest.fixture(autouse=True)
def no_setting_stays():
    yield
    fg.config(threads=None)


def results(system, workload):
    # Three calls: fungrad interprets at first, and then compiles.
    run = system.prepare(workload, workload.inputs(np.random.default_rng(0), workload.tiny))
    return [[system.numpy(result) for result in flat(run())] for _ in range(3)]


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=lambda w: w.name)
def test_gradients_agree_with_the_ones_written_by_hand(workload):
    expected = results(Manual(1), workload)
    for system in (Fungrad(1), FungradJit(1)):
        for want, got in zip(expected, results(system, workload), strict=True):
            assert not difference(want, got, workload.tolerance)


def test_manual_gradients_agree_with_differences():
    # Also the hand that writes a gradient errs.
    for workload in WORKLOADS.values():
        if workload.kind == "value_and_grad" and workload.tolerance < 1e-6:
            inputs = workload.inputs(np.random.default_rng(1), workload.tiny)
            grads = workload.manual(*inputs)[1:]
            for i, grad in zip(workload.wrt, grads, strict=True):
                direction = np.random.default_rng(2).normal(size=np.shape(inputs[i]))
                shifted = [
                    workload.manual(*inputs[:i], inputs[i] + h * direction, *inputs[i + 1 :])[0]
                    for h in (-1e-6, 1e-6)
                ]
                slope = (shifted[1] - shifted[0]) / 2e-6
                assert slope == pytest.approx(np.sum(grad * direction), rel=1e-6, abs=1e-7)


def test_a_wrong_result_is_noticed():
    good = [np.ones(3), np.float64(2)]
    assert not difference(good, [np.ones(3) + 1e-12, np.float64(2)], 1e-9)
    assert "off by 1.0e-06" in difference(good, [np.ones(3) + 1e-6, np.float64(2)], 1e-9)
    assert "off by nan" in difference(good, [np.full(3, np.nan), np.float64(2)], 1e-9)
    assert "float32" in difference(good, [np.ones(3, np.float32), np.float64(2)], 1e-9)
    assert "1 results for 2" in difference(good, good[:1], 1e-9)


def test_the_command_prints_a_table(capsys, tmp_path):
    options = "--preset tiny --rounds 2 --seconds 0.01 --firsts 1 --threads 1"
    main([*options.split(), "--only", "scalar", "--systems", "fungrad", "mygrad"])
    captured = capsys.readouterr()
    assert "| scalar function of two floats | " in captured.out
    assert "## Import" in captured.out


def test_the_table_says_what_is_missing():
    cells = [
        {"workload": "scalar", "system": "manual", "threads": 1, "seconds": 2e-6, "first": 1e-3},
        {"workload": "scalar", "system": "jax", "threads": 1, "missing": "wrong: off by 3"},
        {"workload": "scalar", "system": "torch", "threads": 1, "seconds": 5e-6, "bytes": 2e6},
    ]
    text = report(cells, ["manual", "jax", "torch"], {"manual": 0.1}, "the command")
    assert "| scalar function of two floats | 2 µs | — | **2.50** |" in text
    assert "jax: wrong: off by 3" in text
    assert "`the command`" in text


def test_a_workload_of_no_known_kind_is_refused():
    with pytest.raises(ValueError, match="kind"):
        Workload(name="", title="", kind="?", program=sum, manual=sum, inputs=sum, size=0, tiny=0)


@pytest.mark.parametrize("program", [compile_time.chain, compile_time.recurrence])
def test_compiling_takes_time_in_proportion(program):
    """The same for an operation, of few or of many; anything quadratic would take ten times more.

    A fast machine needs 20 to 45 µs.
    """
    compile_time.stages(*program(8))
    costs = []
    for steps in (100, 1_000):
        each = []
        for more in range(3):  # programs that were not seen before
            count, seconds = compile_time.stages(*program(steps + more))
            each.append(sum(seconds.values()) / count)
        costs.append(min(each))
    assert max(costs) < 400e-6
    assert costs[1] < 4 * costs[0]


def test_the_table_of_compile_times_is_printed(capsys):
    compile_time.main(["--operations", "30", "60"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert all(line.count("|") == 10 for line in lines)
