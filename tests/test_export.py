"""Exported files run where there is no fungrad, with the same bits; ``explain`` counts."""

import subprocess
import sys

import numpy as np
import pytest

import fungrad as fg
from fungrad.errors import UnsupportedFunctionError
from fungrad.extend import elementwise
from fungrad.ops.elementwise import ZERO
from tests._checks import same_bits
from tests.test_compile import PROGRAMS


def run(text, *args):
    file = {"__name__": "exported"}
    exec(compile(text, "<exported>", "exec"), file)
    return file["program"](*args)


def check(f, *args):
    text = fg.export_source(f, *args)
    assert "import fungrad" not in text
    assert "from fungrad" not in text
    leaves = fg.tree.leaves(args)
    got = run(text, *leaves)
    jitted = fg.jit(f)
    jitted(*args)
    want = fg.tree.leaves(jitted(*args))
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        same_bits(np.asarray(a), np.asarray(b), text)
    return text


x = np.random.default_rng(0).normal(size=(3, 3))


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name):
    check(PROGRAMS[name], x)


def thinly(k):
    factor = np.linalg.cholesky(k)
    return np.sum(np.log(np.diagonal(factor))) + np.sum(np.linalg.solve(factor, np.ones(40)) ** 2)


TWO = np.linspace(0, 1, 300).reshape(100, 3)
EXAMPLES = {
    "Python integers": (lambda x, n: x * (n**2 + n // 2 - abs(-n) + (n << 1) % 3), 2.0, 3),
    "numbers": (fg.grad(lambda a, b: a * b + np.sin(a) / b, argnums=0), 1.5, 2),
    "parameters": (
        fg.value_and_grad(lambda p, x: np.mean((np.tanh(x @ p["w"] + p["b"])) ** 2)),
        {"w": np.ones((3, 2)), "b": np.zeros(2)}, x,
    ),
    "captured arrays": (lambda x: TWO @ x + np.array([np.inf, 0, -0.0]), x),
    "sums": (fg.value_and_grad(lambda x: np.sum(np.tanh(x * 2) * x)), np.linspace(-1, 1, 300_000)),
    "rows": (fg.grad(lambda x: np.sum(np.exp(x - x.max(1, keepdims=True)).sum(1))), np.ones((9000, 12))),
    "gather": (fg.grad(lambda x: np.sum(np.sin(x[[0, 1, 0]]))), x),
    "layers": (fg.grad(lambda x: np.sum(fg.nn.softmax(fg.nn.gelu(x)) * fg.nn.relu(x))), x),
    "factors": (fg.grad(lambda x: np.linalg.slogdet(x @ x.T + np.eye(3))[1]), x),
    "likelihood": (fg.grad(lambda x: thinly(x @ x.T + 9 * np.eye(40))), np.cos(TWO[:40] @ TWO[:40].T)),
    "cumulative": (fg.grad(lambda x: np.sum(np.cumprod(x) ** 2)), np.arange(4.0)),
    "numbers of other kinds": (lambda x: x * np.float32(0.1) + np.array([True, False, True]) * 1j, x),
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name):
    check(*EXAMPLES[name])


def test_a_process_without_fungrad(tmp_path):
    f, value = EXAMPLES["sums"]
    (tmp_path / "program.py").write_text(fg.export_source(f, value), encoding="utf-8")
    code = (
        "import sys; sys.modules['fungrad'] = None; import numpy as np; from program import program;"
        "print(*[float(np.sum(out)).hex() for out in program(np.linspace(-1, 1, 300_000))])"
    )
    out = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert out.stdout.split() == [float(np.sum(v)).hex() for v in f(value)]


def test_lists_are_taken_and_layouts_do_not_matter():
    text = fg.export_source(lambda x: np.sum(x * 2, axis=0), x)
    want = np.sum(x * 2, axis=0)
    for value in (x.tolist(), np.asfortranarray(x), x[::-1].copy()[::-1]):
        same_bits(run(text, value)[0], want, "layout")


def test_the_text_is_the_same_every_time():
    f, *args = EXAMPLES["layers"]
    assert fg.export_source(f, *args) == fg.export_source(f, *args)


def test_a_value_that_is_no_numpy_code_is_refused():
    mine = elementwise(lambda x: x + 1, ZERO, name="export_test_mine")
    with pytest.raises(UnsupportedFunctionError, match="export_test_mine.*write the function"):
        fg.export_source(lambda x: mine(x), x)


def test_loops_and_branches_are_refused():
    loop = lambda x: fg.scan(lambda c, _: (np.sin(c), None), x, None, length=9)[0]
    with pytest.raises(UnsupportedFunctionError, match="exporting loop, .*write a Python loop"):
        fg.export_source(fg.grad(loop), 1.0)
    branch = lambda x: fg.cond(x > 0, np.sin, np.cos, x)
    with pytest.raises(UnsupportedFunctionError, match="exporting switch, .*np.where for a branch"):
        fg.export_source(branch, 1.0)


# --- explain -------------------------------------------------------------------------------------


def test_explain():
    f = fg.grad(lambda x: np.sum(np.sin(x) * x * 1))
    long = fg.explain(f, np.ones(1_000_000))
    counts = list(long.operations.values())
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1] == 4
    (loop,) = long.loops
    assert loop.rows == 1_000_000
    assert loop.blocks > 10
    assert loop.operations == counts[-1]
    assert long.peak_bytes == 8_000_000
    assert long.kept_bytes == 2 * 16384 * 8  # two blocks; they are cut in halves
    assert long.moved_bytes_in_blocks == 16_000_000 < long.moved_bytes
    short = fg.explain(f, np.ones(100))
    assert short.loops == ()
    assert short.kept_bytes == 0
    flat = fg.explain(lambda x: np.sum((np.sin(x) @ x) * x), np.ones((100, 100)))
    assert flat.kept_bytes == 2 * 80_000
    assert short.moved_bytes == short.moved_bytes_in_blocks
    assert str(long).count("\n") == len(long.operations) + 4
    assert "16 MB" in str(long)
