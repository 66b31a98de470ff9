"""Compiled programs give the bits of the interpreter and of NumPy, and touch nobody's memory."""

import ast
import itertools
import re
import tracemalloc
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import fungrad as fg
from fungrad._aval import aval_of
from fungrad._evaluate import interpret
from fungrad._simplify import simplify
from fungrad._trace import trace_flat
from fungrad.compile.pool import release
from fungrad.compile.spelling import in_parts, shortened
from fungrad.extend import elementwise
from fungrad.ops.elementwise import ZERO
from tests._checks import LAYOUTS, check_claims, graph_of, plainly, same_bits

source_module = import_module("fungrad.compile.source")
schedule_module = import_module("fungrad.compile.schedule")
calls_module = import_module("fungrad.compile.calls")
spelling_module = import_module("fungrad.compile.spelling")
run_module = import_module("fungrad.compile.run")


MATRIX = np.random.default_rng(0).normal(size=(40, 40))


def normal(*shape, dtype=np.float64):
    return np.random.default_rng(len(shape) + 3).normal(size=shape).astype(dtype)


def interpreted_and_compiled(f, *args):
    """The outputs of the program of ``f``, by the interpreter and by its generated source."""
    traced = trace_flat(lambda leaves: (f(*leaves),), [aval_of(x) for x in args], args)
    graph = simplify(traced.graph)
    values = [np.asarray(value) for value in (*args, *traced.captures)]
    compiled = source_module.build(graph, tuple([v.flags.c_contiguous for v in values]))
    return plainly(graph, values), compiled(*values)


TWICE = np.array([2, 2, 0])
PROGRAMS = {
    "x + x.T": lambda x: x + x.T,
    "x.T - x": lambda x: np.exp(x).T - np.exp(x),
    "reversed": lambda x: x[::-1] + x,
    "reversed columns of a temporary": lambda x: (x * 2)[:, ::-1] + x * 2,
    "temporary minus its own reverse": lambda x: np.exp(x) - np.exp(x)[::-1, ::-1],
    "reshape": lambda x: np.sin(x).reshape(-1) * 2 + np.ravel(x),
    "reshape and back": lambda x: (np.sin(x).reshape(-1) * 2).reshape(x.shape) + np.sin(x),
    "transpose of a temporary, then both": lambda x: np.sin(x) * 2 + (np.sin(x) * 2).T,
    "diamond": lambda x: (lambda y: (y + 1) * (y - 1) + y)(np.exp(x)),
    "deep diamond": lambda x: (lambda y: ((y + 1) * (y - 1) + y * y) / (y + 2) - y)(x * 0.5),
    "first row": lambda x: np.exp(x) - np.exp(x)[0],
    "first column": lambda x: np.exp(x) * np.exp(x)[:, :1],
    "one entry": lambda x: (x * 3) / (x * 3)[1, 1],
    "broadcast view": lambda x: np.broadcast_to((x * 2)[0], x.shape) + x * 2,
    "sum of a temporary": lambda x: np.exp(x) / np.sum(np.exp(x), axis=1, keepdims=True),
    "softmax": lambda x: (lambda e: e / e.sum(-1, keepdims=True))(np.exp(x - x.max(-1, keepdims=True))),
    "matmul in a chain": lambda x: (x @ x) * 2 + x @ x.T,
    "matmul of itself": lambda x: (x + 1) @ (x + 1),
    "matmul, view, reuse": lambda x: ((x @ x).T @ (x @ x)) - 1,
    "concatenate": lambda x: np.concatenate([x * 2, x[::-1] * 2]) + 1,
    "concatenate of one temporary": lambda x: np.concatenate([np.sin(x), np.sin(x)]) * 3,
    "stack": lambda x: np.stack([x * 2, (x * 2).T]).sum(0) - x,
    "where": lambda x: np.where(x > 0, np.sqrt(np.abs(x)), -x) * 2 + x,
    "masks": lambda x: ((x > 0) & ~(x > 1) | (x < -1)) * x,
    "gather": lambda x: (x * 2)[[0, 0, 1]] + (x * 2)[[1, 2, 0]] * x[TWICE],
    "scatter": lambda x: fg.grad(lambda x: np.sum(np.exp(x[[0, 1, 0]]) * x[2::-1]))(x),
    "several results": lambda x: (np.exp(x), np.exp(x) + 1, np.exp(x).T, x, np.exp(x)[0]),
    "a result that is used further": lambda x: (lambda y: (y, y * 2 + 1, (y * 2).T))(np.sin(x)),
    "gradient": fg.grad(lambda x: np.sum(np.tanh(x @ x.T) ** 2 * x)),
    "second derivative": fg.grad(lambda x: np.sum(fg.grad(lambda y: np.sum(np.sin(y @ y)))(x) ** 2)),
    "dtypes": lambda x: (x.astype(np.float32) * 2).astype(np.float64) + (x > 0) + x.astype(np.int64),
    "integers": lambda x: ((x * 10).astype(np.int64) // 3) % 4 - 1,
    "complex": lambda x: np.abs((x * 1j + 2) * (x - 1j)) + (x * 1j).real,
    "sum over mixed layouts": lambda x: np.sum(x.T * 2 + x) + np.sum((x.T + 1) * (x - 1).T),
    "sums of mixed layouts": lambda x: (np.exp(x.T) * x).sum(0) + (x - x.T * 3).sum(1),
    "scalars": lambda x: (x.sum() * 2 + x.mean()) / 3 - x[0, 0] * 2,
    "ternary reuse": lambda x: (lambda a, b: (a * b + a) * (b - a))(np.sin(x), np.cos(x)),
    "clip and maximum": lambda x: np.maximum(np.clip(x * 2, -1, 1), (x * 2)[::-1]),
    "moved axes": lambda x: np.moveaxis(x.reshape(x.shape[0], 1, -1) * 2, 0, -1) + 1,
    "zeros": lambda x: np.zeros_like(x) - x * np.ones_like(x) + np.full_like(x, 3.0),
}  # fmt: skip


def layouts(x):
    """The same values in all kinds of memory."""
    wide = np.zeros((2 * x.shape[0], 3 * x.shape[1]), x.dtype)
    wide[::2, ::3] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    unaligned = np.frombuffer(b"\0" + x.tobytes(), x.dtype, offset=1).reshape(x.shape)
    return {
        "C": x.copy(), "Fortran": np.asfortranarray(x), "strided": wide[::2, ::3],
        "reversed": x[::-1, ::-1].copy()[::-1, ::-1], "read-only": read_only,
        "unaligned": unaligned, "swapped bytes": x.astype(x.dtype.newbyteorder()),
    }  # fmt: skip


def assert_same(actual, expected):
    actual, expected = fg.tree.leaves(actual), fg.tree.leaves(expected)
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        assert np.asarray(a).dtype == np.asarray(b).dtype
        assert_array_equal(a, b, strict=isinstance(b, np.ndarray) and b.ndim > 0)
        assert_array_equal(np.signbit(np.real(a)), np.signbit(np.real(b)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_first_run_writes_over_nothing_that_is_still_read(name, layout):
    x = LAYOUTS[layout](normal(3, 3))
    graph, values = graph_of(PROGRAMS[name], [x])
    before = [np.copy(value) for value in values]
    got = interpret(graph, values)
    for a, b in zip(got, plainly(graph, values), strict=True):
        same_bits(a, b, name)
    for value, copy in zip(values, before, strict=True):
        same_bits(value, copy, name)


def test_the_first_run_takes_no_more_memory_than_its_live_values():
    def f(x):
        y = np.exp(x)
        return np.tanh(np.sqrt(y + 1) * 2 - 3) / y

    x = np.ones(100_000)
    graph, values = graph_of(f, [x])
    interpret(graph, values)
    tracemalloc.start()
    interpret(graph, values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.1 * x.nbytes  # y, and what is made of it; three without


@pytest.mark.parametrize(
    "view", [np.transpose, np.ravel, lambda y: y[1:], lambda y: y[None], lambda y: y.reshape(-1)]
)
def test_the_first_run_leaves_what_has_views(view):
    def f(x):
        y = np.exp(x)
        return view(y), np.sqrt(y)

    graph, values = graph_of(f, [normal(3, 3)])
    for a, b in zip(interpret(graph, values), plainly(graph, values), strict=True):
        same_bits(a, b, "with a view")


def test_the_first_run_leaves_a_callback_its_arrays():
    kept = []

    def look(y):
        kept.append((y, y.copy()))
        return y + 1

    def f(x):
        y = np.exp(x)
        return fg.pure_callback(look, y, y) + np.sqrt(y)

    graph, values = graph_of(f, [np.ones(5)])
    interpret(graph, values)
    array, copy = kept[-1]
    same_bits(array, copy, "kept")


@pytest.mark.parametrize("name", PROGRAMS)
def test_compiled_interpreted_and_plain_give_equal_bits(name):
    f, x = PROGRAMS[name], normal(3, 3)
    plain = f(x)
    g = fg.jit(f)
    for n, (layout, array) in enumerate([*layouts(x).items()] * 2):
        before = array.copy()
        results = g(array)
        if layout in ("C", "read-only", "unaligned") or n == 0:
            assert_same(results, plain)  # other layouts may sum in another order
        assert_array_equal(array, before, err_msg=layout)
        if layout == "strided":
            assert not array.base[1::2].any()
        slow, fast = interpreted_and_compiled(f, array)
        assert_same(fast, slow)
    for again in range(3):
        assert_same(g(x + again), f(x + again))


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_small_floats(name, dtype):
    f, x = PROGRAMS[name], normal(4, 4, dtype=dtype)
    if dtype is np.float16 and "derivative" in name:
        x = x / 4
    g = fg.jit(f)
    for _ in range(3):
        assert_same(g(x), f(x))


@pytest.mark.parametrize("name", PROGRAMS)
def test_big_arrays(name):
    f, x = PROGRAMS[name], normal(300, 300) / 20
    g = fg.jit(f)
    first, second = g(x), g(x)
    assert_same(second, first)
    if name == "sums of mixed layouts":
        # NumPy writes the product into the large temporary exp(x.T), so it adds in that order.
        np.testing.assert_allclose(second, f(x), rtol=1e-12, atol=1e-12)
    elif name == "matmul, view, reuse":
        # The product of one array with itself may be computed by a routine of its own, an ulp apart.
        np.testing.assert_allclose(second, f(x), rtol=0, atol=1e-15)
    elif "derivative" not in name and "gradient" not in name:
        assert_same(second, f(x))


@pytest.mark.parametrize("layout", ["C", "Fortran", "strided", "reversed"])
def test_short_rows_in_all_layouts(layout):
    x = layouts(normal(2000, 9))[layout]
    for f in (lambda x: np.sum(x, axis=1), lambda x: np.sum(np.exp(x), axis=1) * 2):
        slow, fast = interpreted_and_compiled(f, x)
        assert_same(fast, slow)


def test_inputs_that_are_one_array_or_overlap():
    base = normal(40)
    f = lambda a, b: (a + b[::-1], a * 2, b * 3 + a)
    pairs = [(base, base), (base[:-1], base[1:]), (base[::-1], base), (base[::2], base[1::2])]
    before = base.copy()
    for a, b in pairs:
        g = fg.jit(f)
        for _ in range(3):
            assert_same(g(a, b), f(a, b))
            assert_array_equal(base, before)


def test_sizes_zero_and_one():
    for shape in ((0,), (1,), (0, 3), (3, 0), (1, 1), ()):
        x = np.full(shape, 0.5)
        f = lambda x: (np.exp(x) * 2 + x, np.sum(np.sin(x) * x), (x * 2).T - 1, np.ravel(x) * 2)
        g = fg.jit(f)
        for _ in range(3):
            assert_same(g(x), f(x))


# --- the source --------------------------------------------------------------------------------


def test_source():
    def f(p, x):
        h = np.tanh(x @ p["w"] + p["b"])
        return np.sum(h * h, axis=0)[1:], -0.0

    args = {"w": np.ones((3, 2)), "b": np.ones(2)}, np.ones((4, 3))
    assert fg.source(f, *args) == (
        "def program(x0, x1, x2):\n"
        "    # x0: float64[2]\n"
        "    # x1: float64[3,2]\n"
        "    # x2: float64[4,3]\n"
        "    t0 = np.matmul(x2, x1)                                 # float64[4,2]\n"
        "    t1 = np.add(t0, x0, out=t0); del t0                    # float64[4,2]\n"
        "    t2 = np.tanh(t1, out=t1); del t1                       # float64[4,2]\n"
        "    t3 = np.multiply(t2, t2, out=t2); del t2               # float64[4,2]\n"
        "    t4 = np.add.reduce(t3, axis=(0,), dtype=None); del t3  # float64[2]\n"
        "    t5 = t4[1:2,]                                          # float64[1]\n"
        "    return (t5, -0.0,)\n"
    )


SAFE_NAME = re.compile(r"[xtkc]\d+|np|program|out")


def assert_safe(text):
    """One function of assignments and deletions; names come from counters only."""
    tree = ast.parse(text)
    (function,) = tree.body
    assert isinstance(function, ast.FunctionDef)
    kinds = {type(statement) for statement in function.body}
    assert kinds <= {ast.Assign, ast.AugAssign, ast.Delete, ast.Expr, ast.Return}
    targets = [s.targets[0] for s in function.body if isinstance(s, ast.Assign)]
    # Pieces of an array are filled one after the other.
    targets = [target.id for target in targets if not isinstance(target, ast.Subscript)]
    assert len(set(targets)) == len(targets)  # one assignment per node
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            assert SAFE_NAME.fullmatch(node.id), node.id
        assert not isinstance(node, (ast.Import, ast.ImportFrom, ast.Lambda, ast.JoinedStr))
        if isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_")
        if isinstance(node, ast.Constant):
            assert isinstance(node.value, (int, float, bool, type(None)))


@pytest.mark.parametrize("name", PROGRAMS)
def test_source_is_straight_line_code(name):
    assert_safe(fg.source(PROGRAMS[name], normal(3, 3)))


def test_source_of_special_numbers():
    f = lambda x: [x * n for n in (np.inf, -np.inf, np.nan, -0.0, 1e308, 5e-324, 1j, 10**18, -7)]
    text = fg.source(f, 1.0)
    assert_safe(text)
    g = fg.jit(f)
    with np.errstate(all="ignore"):
        for _ in range(3):
            for a, b in zip(g(2.0), f(np.float64(2.0)), strict=True):
                assert_array_equal(a, b)


texts = st.text() | st.sampled_from(
    ["x);import os#", "'''", '"""', "\n    raise SystemExit\n", "{0}", "%s", "\\", "__builtins__",
     "x0", "t1 = 0", "\u2028", "\x00", "lambda: 0", "{axis}", "# c0", "\r", "def program():"]
)  # fmt: skip


@given(st.lists(texts, min_size=2, max_size=2, unique=True), texts, texts)
def test_no_text_of_the_user_reaches_the_source(keys, name, static):
    """Dict keys, names, docstrings and static arguments leave the source as it is."""

    def make(keys, name, static):
        def f(d, mode):
            total = d[keys[0]] * 2 + np.sin(d[keys[1]])
            return {keys[1]: total, keys[0]: total[::-1]}, mode

        f.__name__ = f.__qualname__ = name
        f.__doc__ = static
        return f

    x = np.ones(3)
    hostile = fg.source(make(keys, name, static), dict.fromkeys(keys, x), static)
    swapped = sorted(keys) == keys
    plain = ["a", "b"] if swapped else ["b", "a"]
    assert hostile == fg.source(make(plain, "f", "s"), dict.fromkeys(plain, x), "s")
    g = fg.jit(make(keys, name, static), static_argnums=1)
    for _ in range(2):
        result, mode = g(dict.fromkeys(keys, x), static)
        assert mode == static
        assert set(result) == set(keys)
        assert_array_equal(result[keys[0]], 2 * x + np.sin(x))


def test_the_program_has_no_builtins():
    graph = fg.trace(lambda x: np.where(x > 0, fg.nn.sigmoid(x), x[[0, 0, 1]]), np.ones(3))
    program = source_module.build(graph, (True,) * len(graph.inputs))
    assert program.__globals__["__builtins__"] == {"__import__": __import__}
    assert program.__globals__["np"] is np
    others = set(program.__globals__) - {"np", "__builtins__", "program"}
    assert all(re.fullmatch(r"[ck]\d+|np_\w+", name) for name in others)


def test_source_is_the_same_every_time():
    f = PROGRAMS["second derivative"]
    assert fg.source(f, normal(3, 3)) == fg.source(f, normal(3, 3) + 1)


def test_source_of_transformed_functions():
    loss = lambda w, x: np.mean((x @ w) ** 2)
    w, x = np.ones(3), np.ones((4, 3))
    gradients = fg.grad(loss), fg.value_and_grad(loss), fg.jit(fg.grad(loss))
    # The Hessian 2 xᵀx / n is one product: x times the identity is not computed.
    for f, products in (*[(gradient, 2) for gradient in gradients], (fg.hessian(loss), 1)):
        text = fg.source(f, w, x)
        assert_safe(text)
        assert text.count("np.matmul") == products


def test_a_python_number_of_a_user_is_computed_with_as_numpy_does():
    mine = elementwise(lambda x: float(np.sum(x)), ZERO, name="compile_test_float")
    f = fg.jit(lambda x: (1 / mine(x), mine(x) / mine(x * 1), -mine(x), mine(x) * mine(x)))
    with np.errstate(all="ignore"):
        for value in (0.0, 1e300):
            for _ in range(3):
                same = [np.float64(v) for v in (value, value)]
                want = 1 / same[0], same[0] / same[1], -same[0], same[0] * same[1]
                for a, b in zip(f(value), want, strict=True):
                    assert_array_equal(a, b)
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        f(0.0)


@pytest.mark.parametrize("state", ["raise", "warn", "ignore"])
def test_numbers_raise_and_warn_as_numpy_does(state):
    f = fg.jit(lambda a, b: (a * a, a / b, a - a, a + a))
    f(1.0, 1.0), f(1.0, 1.0)
    for args in ((1e300, 1.0), (1.0, 0.0), (np.inf, np.inf)):
        with np.errstate(all=state):
            if state == "raise":
                with pytest.raises(FloatingPointError):
                    f(*args)
            elif state == "warn":
                with pytest.warns(RuntimeWarning):
                    f(*args)
            else:
                a, b = map(np.float64, args)
                assert_array_equal(f(*args), (a * a, a / b, a - a, a + a))


CHOICES = {
    "array or array": lambda x, y, c: np.where(c, x, y),
    "array or 0": lambda x, y, c: np.where(c, x, 0),
    "0 or array": lambda x, y, c: np.where(c, 0, y) - x,
    "-0.0": lambda x, y, c: np.where(c, x, -0.0),
    "infinity": lambda x, y, c: np.where(c, np.inf, y),
    "a row": lambda x, y, c: np.where(c, x[0], y),
    "a row of conditions": lambda x, y, c: np.where(c[0], x, y),
    "a number too large": lambda x, y, c: np.where(c, x, 1e30) * np.where(c, 1e300, y),
    "its own operand": lambda x, y, c: (lambda z: np.where(c, z, z + 1))(x * y),
    "then written over": lambda x, y, c: np.exp(np.where(c, x, y)) * y,
    "two numbers": lambda x, y, c: np.where(c, 0, 0) + np.where(c, 1.5, 0) * x,
    "masked": lambda x, y, c: fg.nn.relu(x) + fg.grad(lambda x: np.sum(fg.nn.relu(x) * y))(x),
    "mixed dtypes": lambda x, y, c: np.where(c, x.astype(np.float32), y),
    "0-d": lambda x, y, c: np.where(c[0, 0], x[0, 0], y[1, 1]),
}


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_choices_by_bits_are_those_by_branches(name, dtype, monkeypatch):
    monkeypatch.setattr(calls_module, "LONG", 1)
    x, y = normal(3, 4, dtype=dtype), normal(3, 4, dtype=dtype).T.copy().reshape(3, 4)
    x[0, :3], y[:2, 1] = [-0.0, np.nan, -np.inf], [np.inf, 0.0]
    condition = normal(3, 4) > 0
    for a, b, c in itertools.product(*[[v, np.asfortranarray(v)] for v in (x, y, condition)]):
        with np.errstate(all="ignore"):
            interpreted, compiled = interpreted_and_compiled(CHOICES[name], a, b, c)
            assert_same(compiled, interpreted)
            assert_same(compiled, [CHOICES[name](a, b, c)] if name != "masked" else interpreted)


def test_long_choices_are_made_by_bits():
    f = lambda x: np.where(x @ x > 0, x, 0)
    assert "blocks.select" in fg.source(f, np.ones((70, 70)))
    assert "blocks.select" not in fg.source(f, np.ones((7, 7)))


SHAPES = st.lists(st.integers(1, 3), min_size=1, max_size=4).map(tuple)


@given(st.data())
def test_results_lie_in_memory_as_expected(data):
    """NumPy itself lays results out as ``strides`` says, whatever the layout of operands."""
    shape = data.draw(SHAPES)
    part = tuple(data.draw(st.sampled_from([n, 1])) for n in shape)[data.draw(st.integers(0, 1)) :]

    def operand(shape):
        axes = data.draw(st.permutations(range(len(shape))))
        steps = [data.draw(st.sampled_from([1, 1, 2, -1])) for _ in shape]
        wide = np.ones([shape[axis] * abs(steps[axis]) for axis in axes])
        laid = wide.transpose(np.argsort(axes))
        return laid[tuple(slice(None, None, step) for step in steps)]

    def f(x, y, z):
        one = np.sin(x) * y
        two = np.where(one > y, x + z, y)
        stack = np.ones((2, 3, 3)) * z.sum()
        turned = np.moveaxis(np.moveaxis(stack, 0, 2) * 1, 2, 0)  # the stack's axis lies innermost
        three = stack.transpose(0, 2, 1) @ (stack + 1) - turned @ stack
        squares = np.ones((2, 3, 2, 2)) * z.sum()
        four = np.swapaxes(squares, 0, 1) @ np.swapaxes(squares + 1, 0, 1)
        return one + z, two * 2, z.T * one.T, three, np.swapaxes(three, 1, 2) + three[::-1], four

    values = [operand(shape), operand(part), operand(shape)]
    graph, values = graph_of(f, values)
    check_claims(graph, values, "a stack")


# --- memory ------------------------------------------------------------------------------------


def peak_of(f, *args):
    release()  # or the call would find memory that earlier ones have left
    tracemalloc.start()
    try:
        result = f(*args)
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


def test_a_long_chain_needs_few_temporaries():
    def chain(x):
        y = x
        for i in range(40):
            y = np.sin(y) * 1.5 + (i + 0.5)
        return y

    x = normal(500_000)
    g = fg.jit(chain)
    for _ in range(3):
        peak, _ = peak_of(g, x)
    assert peak < 1.5 * x.nbytes
    assert np.array_equal(g(x), chain(x))


def test_the_first_call_needs_few_temporaries():
    def chain(x):
        for i in range(40):
            x = np.cos(x) - i
        return np.sum(x)

    x = normal(500_000)
    peak, _ = peak_of(fg.jit(chain), x)
    assert peak < 3.5 * x.nbytes


def test_a_wide_program_needs_few_temporaries():
    """Each term is dropped as soon as it is added."""

    def wide(x):
        total = 0.0
        for i in range(30):
            total = total + np.sum(np.exp(x * i * 1e-3) * (x - i))
        return total

    x = normal(500_000)
    g = fg.jit(wide)
    for _ in range(3):
        peak, _ = peak_of(g, x)
    assert peak < 4.5 * x.nbytes


def test_nothing_stays_after_the_call():
    x = normal(500_000)
    g = fg.jit(lambda x: np.sum(np.exp(x) * np.sin(x) + np.exp(x).reshape(2, -1)[0, 0]))
    g(x)
    g(x)
    release()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    g(x)
    release()
    assert tracemalloc.get_traced_memory()[0] - before < 100_000
    tracemalloc.stop()


def test_simplifying_one_program_leaves_others_alone():
    """A weak number in place of a strong one must not be found by programs that look it up."""
    a = np.ones(7, np.float32)
    fg.jit(lambda x, a: np.negative(np.negative(x)) * a)(2.0, a)
    assert fg.jit(lambda x, a: x * a)(2.0, a).dtype == np.float32
    assert type(fg.jit(lambda x: np.negative(np.negative(x)))(2.0)) is np.float64


@pytest.mark.parametrize("read", [lambda x: x.astype(np.float32), lambda x: x[None]])
def test_a_number_that_simplification_leaves_is_still_an_array(read):
    inner = fg.jit(lambda x, a: x * read(2.1 * a))
    outer = fg.jit(lambda x: inner(x, 1.0))
    for _ in range(3):
        assert np.allclose(outer(np.ones(3)), 2.1)


def test_what_derives_from_one_graph_is_bounded():
    f = fg.vmap(lambda x: np.sum(x**2))
    for size in range(2, 200):
        f(np.ones((size, 2)))
    assert len(fg.trace(lambda x: np.sum(x**2), np.ones(2))._memo) <= 64


def test_gradients_along_a_chain_add_up_on_the_way():
    """Not at the end, when every step's contributions would still be there."""
    steps, wide = 60, 64

    def loss(w, b, xs):
        h = np.zeros((wide, wide))
        for t in range(steps):
            h = np.tanh(xs[t] + h @ w + b)
        return np.sum(h * h)

    args = normal(wide, wide) / wide, normal(wide), normal(steps, wide, wide)
    f = fg.grad(loss, argnums=(0, 1))
    jitted = fg.jit(f)
    first = jitted(*args)
    jitted(*args)
    peak, second = peak_of(jitted, *args)
    assert_same(second, first)
    step = args[0].nbytes
    assert peak < (steps + 14) * step  # one hidden state for each step, and a few temporaries


def test_a_slope_is_kept_in_the_place_of_what_it_is_made_of():
    def loss(x):
        for _ in range(steps):
            x = fg.nn.sigmoid(np.flip(x, 0))
        return np.sum(x)

    steps, x = 20, normal(64, 64)
    jitted = fg.jit(fg.grad(loss))
    first = jitted(x)
    jitted(x)
    peak, second = peak_of(jitted, x)
    assert_same(second, first)
    assert peak < (steps + 6) * x.nbytes  # one slope for each step, instead of exp(-|x|) and 1 + it


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_order_of_operations_changes_no_bit(name, monkeypatch):
    monkeypatch.setattr(schedule_module, "WORTHWHILE", 0)
    f, x = PROGRAMS[name], normal(3, 3)
    slow, fast = interpreted_and_compiled(f, x)
    assert_same(fast, slow)


# --- what is computed once -----------------------------------------------------------------------


def constant_part(x):
    mask = np.tril(np.ones_like(x)) * 2 - 1
    return x * mask, mask, mask.T, np.exp(x) + np.arange(3.0)


def test_what_depends_on_nothing_is_computed_once():
    text = fg.source(lambda x: x * (np.tril(np.ones_like(x)) * 2 - 1), normal(3, 3))
    assert "computed once" in text
    assert text.count(" = ") == 1
    f = fg.jit(constant_part)
    for _ in range(4):
        results = f(normal(3, 3))
        assert_same(results, constant_part(normal(3, 3)))
        for result in results:  # which belong to the caller alone
            result[...] = np.nan


def test_what_warns_or_is_large_is_computed_at_each_run():
    f = fg.jit(lambda x: x + np.log(np.zeros_like(x)))
    for _ in range(3):
        with pytest.warns(RuntimeWarning):
            f(np.ones(3))
    assert "np.log(" in fg.source(lambda x: x + np.log(np.zeros_like(x)), np.ones(3))
    long = lambda x: x + np.cumsum(np.ones_like(x))
    assert "computed once" not in fg.source(long, np.ones(100_000))


def test_what_a_user_wrote_runs_each_time():
    calls = []

    def value(x):
        calls.append(x)
        return x + len(calls)

    counter = elementwise(value, ZERO, name="compile_test_counter")
    f = fg.jit(lambda x: x + counter(np.cumsum(np.ones_like(x))))
    f(np.ones(3))
    before = len(calls)
    f(np.ones(3)), f(np.ones(3))
    assert len(calls) == before + 2


# --- the spelling of what runs ----------------------------------------------------------------------


def test_programs_run_in_a_short_spelling():
    text = "\n".join(
        [
            "    t1 = np.tanh(t0, out=t0); del t0  # float64[5]",
            "    t2 = np.maximum(t1, x0, out=t1)",  # a third array would be deprecated there
            "    t3 = np.add.reduce(np.linalg.inv(t2), axis=(0,), dtype=None)",
            "    np.add.reduce(t2, axis=0, out=t3)",
            "    t4 = k0(t3, out=t2)",
            "    t5 = x0[np.s_[1, :]]",
        ]
    )
    assert shortened(text).splitlines() == [
        "    t1 = np_tanh(t0, t0); del t0  # float64[5]",
        "    t2 = np_maximum(t1, x0, out=t1)",
        "    t3 = np_add.reduce(np_linalg.inv(t2), axis=(0,), dtype=None)",
        "    np_add.reduce(t2, axis=0, out=t3)",
        "    t4 = k0(t3, out=t2)",
        "    t5 = x0[np.s_[1, :]]",
    ]


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_short_spelling_means_the_same(name):
    text = fg.source(PROGRAMS[name], normal(40, 40))
    long = shortened(text).replace("np_", "np.")

    def calls(source):
        """Every call of the program, whether ``out`` is given by name or place."""
        found = []
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call):
                named = [k for k in node.keywords if k.arg == "out"]
                others = [k for k in node.keywords if k.arg != "out"]
                whole = ast.Call(node.func, [*node.args, *[k.value for k in named]], others)
                found.append(ast.unparse(whole))
        return found

    assert calls(long) == calls(text)


# --- long programs ----------------------------------------------------------------------------------


def test_long_programs_are_compiled_in_parts(monkeypatch):
    monkeypatch.setattr(spelling_module, "PART", 2)
    text = """# c0: a comment
def g0(a):
    a
def program(x0, x1):
    # x0: float64[3]
    t0 = np_add(x0, x1)  # float64[3]
    s0, s1, = s = k0()
    t1 = np_sin(t0, s0); del t0
    t2 = np_cos(t1)  # float64[3]
    k1(s)
    return (t2, x0,)
"""
    assert in_parts(text, "program") == [
        "# c0: a comment\ndef g0(a):\n    a\n",
        "def part0(v, x0, x1):\n    v[0] = np_add(x0, x1)\n    v[1], s1, = v[2] = k0()",
        "def part1(v, x0, x1):\n    t1 = np_sin(v[0], v[1]); v[0] = None\n    v[3] = np_cos(t1)",
        "def part2(v, x0, x1):\n    k1(v[2])",
        "def program(x0, x1):\n    v = [None] * 4\n    part0(v, x0, x1)\n    part1(v, x0, x1)\n"
        "    part2(v, x0, x1)\n    return (v[3], x0,)",
    ]


@pytest.mark.parametrize("part", [1, 3])
@pytest.mark.parametrize("size", [3, 300])
@pytest.mark.parametrize("name", PROGRAMS)
def test_parts_compute_what_the_whole_does(name, size, part, monkeypatch):
    monkeypatch.setattr(spelling_module, "PART", part)
    interpreted, compiled = interpreted_and_compiled(PROGRAMS[name], normal(size, size) / 20)
    assert_same(compiled, interpreted)


def test_parts_forget_what_no_other_part_needs(monkeypatch):
    monkeypatch.setattr(spelling_module, "PART", 2)
    x = normal(400, 400)

    def chain(x):
        for _ in range(30):
            x = np.tanh(x @ x) + x.T
        return x

    f = fg.jit(chain)
    f(x), f(x)
    assert peak_of(f, x)[0] < 5 * x.nbytes


def test_very_long_programs_are_compiled_late(monkeypatch):
    monkeypatch.setattr(run_module, "LONG", 50)
    monkeypatch.setattr(run_module, "LATE", 4)
    built = []
    monkeypatch.setattr(
        run_module, "build", lambda *args: built.append(args) or source_module.build(*args)
    )

    def chain(x):
        for _ in range(60):
            x = np.sin(x)
        return x

    f, x = fg.jit(chain), normal(3)
    counts = []
    for _ in range(6):
        assert_same(f(x), chain(x))
        counts.append(len(built))
    assert counts == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    "slope",
    [
        fg.grad(lambda v: np.sum(MATRIX @ v)),
        fg.grad(lambda v: np.sum(np.hypot(MATRIX + v[:, None], 1))),
        fg.grad(lambda v: np.mean(MATRIX * v[:, None])),
    ],
)
def test_products_of_one_number_do_not_change_after_the_first_call(slope):
    """Broadcast, it lies in memory otherwise than as the constant that a simpler graph has."""
    vector = np.random.default_rng(1).normal(size=40)
    jitted = fg.jit(slope)
    results = [f(vector).tobytes() for f in (slope, slope, slope, jitted, jitted, jitted)]
    assert len(set(results)) == 1


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.sum(np.square((x + x).reshape(-1).reshape(x.shape)), axis=0),
        lambda x: (x + x).reshape(-1).reshape(x.shape) @ x,
        lambda x: np.sum(np.tanh(x.T.reshape(-1).reshape(x.T.shape)), axis=1),
    ],
)
@pytest.mark.parametrize("layout", [np.asfortranarray, lambda x: np.repeat(x, 2, 1)[:, ::2]])
def test_layouts_of_inputs_do_not_change_results_after_the_first_call(f, layout):
    x = layout(np.random.default_rng(0).normal(size=(30, 30)))
    jitted = fg.jit(f)
    assert len({jitted(x).tobytes() for _ in range(5)}) == 1
