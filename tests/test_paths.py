"""``jit`` of code that depends on values: every path is traced once, and never the wrong one run."""

import linecache
import math
import random
import threading
import tracemalloc
import warnings
from importlib import import_module

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fungrad as fg
from fungrad.errors import ConcretizationError, PathLimitWarning
from tests.test_jit import counting

programs_module = import_module("fungrad.transforms._programs")
pytestmark = pytest.mark.usefixtures("hotness")


def programs(jitted):
    """The trees of paths that a jitted function keeps."""
    return [program.paths for program in jitted._programs.values()]


# --- one trace for each path ---------------------------------------------------------------------


def test_each_branch_is_traced_once():
    f, runs = counting(lambda x: x * 2 if x > 0 else -x)
    g = fg.jit(f)
    for x in (3.0, -3.0, 4.0, -4.0, 0.0, math.nan, 3.0, -math.inf):
        assert_array_equal(g(x), x * 2 if x > 0 else -x)
    assert len(runs) == 2


def test_questions_in_a_row():
    def f(x, y):
        total = np.sum(x)
        if total > 1:
            total = total * y
        if total > 2 and y < 5:
            return total - y
        elif y == 7:
            return x * y
        return np.exp(x) * total

    counted, runs = counting(f)
    g = fg.jit(counted)
    cases = [(np.full(3, a), b) for a in (0.1, 1.0, 2.0) for b in (-1.0, 0.5, 3.0, 7.0)]
    for _ in range(3):
        for x, y in cases:
            assert_array_equal(g(x, y), f(x, y))
    assert len(runs) <= 6


def test_a_loop_of_many_lengths_is_traced_once_for_each():
    def root(a):
        r = (1 + a) / 2
        while np.abs(r * r - a) > 1e-12 * a:
            r = (r + a / r) / 2
        return r

    counted, runs = counting(root)
    g, rng = fg.jit(counted), np.random.default_rng(0)
    lengths = set()
    for _ in range(300):
        a = float(np.exp(20 * rng.normal()))
        before = len(runs)
        assert g(a) == root(np.float64(a))
        lengths.add(len(runs) - before)
    assert lengths == {0, 1}
    assert len(runs) < 60
    (paths,) = programs(g)
    assert len(paths.graphs) <= 6  # the iterations share their program
    assert paths.size < 1000


def test_code_after_a_number_is_traced_for_each_number():
    f, runs = counting(lambda x, n: sum((x**k for k in range(int(n))), 0.0 * x))
    g = fg.jit(f)
    for _ in range(3):
        for n in (0.0, 1.5, 3.0, 3.9, 2.0):
            assert g(2.0, n) == 2.0 ** int(n) - 1
    assert len(runs) == 4  # int(3.0) is int(3.9)


def test_a_mask_that_decides_a_shape():
    f, runs = counting(lambda x: x[x > 0] * 2)
    g = fg.jit(f)
    for _ in range(3):
        for x in (np.array([1.0, -1.0, 2.0]), np.array([1.0, 1.0, -2.0]), np.full(3, np.nan)):
            assert_array_equal(g(x), x[x > 0] * 2)
    assert len(runs) == 3
    long = np.linspace(-1, 1, 1000)
    for _ in range(3):
        assert_array_equal(g(long), long[long > 0] * 2)
        assert_array_equal(g(-long), -long[long < 0] * 2)
    assert len(runs) == 5


@pytest.mark.parametrize(
    ("ask", "values", "kinds"),
    [
        (bool, (0.0, -0.0, 1.0, math.nan, -3.5), 2),
        (int, (2.0, 2.9, -2.9, 0.5, -0.5), 3),
        (float, (0.0, -0.0, 1.0, math.nan, math.inf), 5),
        (complex, (0.0, -0.0, 1.0, math.nan), 4),
        (lambda x: x.item(), (0.0, -0.0, math.nan, 1.0), 4),
        (lambda x: f"{x:.3f}", (0.0, -0.0, math.nan, 1.0), 4),
        (lambda x: 2.0 in np.stack([x, x + 1]), (1.0, 2.0, 3.0), 2),
        (lambda x: np.zeros(3)[int(x)], (1.0, 2.0, 1.0), 2),
    ],
    ids=["bool", "int", "float", "complex", "item", "format", "in", "index"],
)
def test_answers_are_told_apart_by_bits(ask, values, kinds):
    f, runs = counting(lambda x: (ask(x), x * 1.0))
    g = fg.jit(f)
    for _ in range(3):
        for x in values:
            expected = ask(np.float64(x))
            assert type(g(x)[0]) in (type(expected), np.float64, np.complex128)
            assert (
                str(g(x)[0]) == str(expected).removesuffix(".0")
                or g(x)[0] is expected
                or (repr(complex(g(x)[0])) == repr(complex(expected)))
            )
    assert len(runs) == kinds


def test_a_python_number_and_an_array_of_no_axes():
    """What a Python number is asked under jit, it is asked as NumPy's; and on later calls too."""
    f, runs = counting(lambda n: n.item() * 2)
    g = fg.jit(f)
    for n in (3, 3.5, 1 + 2j, np.float32(2.5), np.array(4), np.array([True])):
        runs.clear()
        for _ in range(3):
            assert g(n) == n * 2
        assert len(runs) == 1


# --- what paths share ----------------------------------------------------------------------------


def names_on_each_path(place, above=()):
    """For every path of a tree, the names of the operations that a call along it does."""
    here = [*above, *[node.primitive.name for node in place.segment.graph.nodes]]
    branches = getattr(place, "branches", None)
    if branches is None:
        return [sorted(here)]
    return [names for branch in branches.values() for names in names_on_each_path(branch, here)]


def test_what_paths_share_is_computed_once_in_a_call():
    def f(x):
        y, z = np.sin(x), np.exp(x)
        if np.sum(y) > 0:
            y = y * z
        return np.cos(y) if np.max(z) > 2 else np.tan(y) + z

    g = fg.jit(f)
    for x in (1.0, 0.1, -0.1, -6.0, 1.0):
        x = np.full(2, x)
        assert_array_equal(g(x), f(x))
    (paths,) = programs(g)
    asked = ["exp", "greater", "greater", "max", "sin", "sum"]
    assert sorted(names_on_each_path(paths.root)) == [
        sorted([*asked, "add", "multiply", "tan"]),
        sorted([*asked, "add", "tan"]),
        sorted([*asked, "cos", "multiply"]),
    ]


def test_views_and_several_results_across_questions():
    """Handed over: results of svd; computed again: views, whose layout a copy would change."""

    def f(a):
        u, s, vt = np.linalg.svd(a)
        t = np.exp(a).T
        if s[0] > 1:
            t = t + 1
        if np.sum(t) > 20:
            return np.sum(t, axis=0), u, vt, t
        return np.cumsum(t, axis=1), s, t[:, ::2].T

    g, rng = fg.jit(f), np.random.default_rng(1)
    for scale in (0.1, 1.0, 2.0) * 3:
        a = scale * rng.normal(size=(4, 5))
        for got, want in zip(g(a), f(a), strict=True):
            assert_array_equal(got, want)
            assert got.flags.writeable
            assert not np.shares_memory(got, a)


def test_the_layout_of_what_is_handed_over():
    """A sum goes through memory in order, so its bits depend on the layout."""

    def f(a):
        e = np.exp(a)
        t = e.T
        if np.max(t) > 1:
            return np.sum(t * t), e
        return np.sum(t)

    g, rng = fg.jit(f), np.random.default_rng(5)
    for _ in range(4):
        a = rng.normal(size=(300, 257)).astype(np.float32)
        for got, want in zip(g(a), f(a), strict=True):
            assert_array_equal(got, want)
        assert g(-a - 9) == f(-a - 9)
    (paths,) = programs(g)
    taken = {node.primitive.name for end in paths.root.branches.values() for node in end.needs}
    assert taken == {"exp"}  # not its transpose, which would be copied


def test_several_results_are_computed_at_once():
    def f(a):
        u, s, vt = np.linalg.svd(a, full_matrices=False)
        return u @ vt if s[0] > 1 else vt

    g = fg.jit(f)
    for scale in (0.1, 2.0):
        g(scale * np.eye(3))
    (paths,) = programs(g)
    assert [names.count("svd") for names in names_on_each_path(paths.root)] == [1, 1]


def test_a_later_path_that_needs_more_of_the_shared_part():
    def f(x):
        a, b, c = np.sin(x), np.cos(x), np.tan(x)
        if np.sum(a * b * c) > 1:
            return a
        if np.sum(a) > -1:
            return b + c
        return a * b

    counted, runs = counting(f)
    g = fg.jit(counted)
    for x in (1.0, 0.3, -0.6, 1.1, -0.7, 0.1) * 2:
        x = np.full(2, x)
        assert_array_equal(g(x), f(x))
    assert len(runs) == 3


def test_captures_of_one_path_only():
    one, two, both = np.ones(2), np.full(2, 2.0), np.full(2, 5.0)

    def f(x):
        y = x * both
        return y * one if np.sum(y) > 0 else (y - two) * both

    g = fg.jit(f)
    for factor in (1.0, 3.0):
        both[:] *= factor
        two[:] *= factor
        for x in (1.0, -1.0, 2.0, -2.0):
            assert_array_equal(g(x), f(x))


def test_a_question_about_a_captured_array():
    """It is asked anew at each call, so writing into the array changes the path.

    It takes one run more to see that the program knows what is in the array.
    """
    limit = np.array([1.0])
    f, runs = counting(lambda x: x * 2 if np.sum(limit * x) > 1 else -x)
    g = fg.jit(f)
    for value in (0.5, 2.0, 0.5, 2.0, 0.5, 2.0):
        limit[:] = value
        assert g(1.0) == (2.0 if value > 1 else -1.0)
    assert len(runs) == 3


def test_a_question_of_an_inner_function_about_a_captured_array():
    limit = np.ones(2)

    def f(x):
        def inner(y):
            known = np.asarray(limit, like=y) * np.ones_like(y)
            return y * x if np.sum(known) > 3 else y * 5

        return fg.grad(inner)(x)

    g = fg.jit(f)
    for value in (1.0, 2.0, 1.0, 2.0, 5.0, 0.0):
        limit[:] = value
        assert g(3.0) == f(3.0) == (3.0 if value >= 2 else 5.0)


# --- derivatives ---------------------------------------------------------------------------------


def smooth(x):
    while np.sum(x * x) > 1:
        x = x * 0.7
    return np.sum(np.sin(x)) if x[0] > 0 else np.sum(x**3)


def test_derivatives_of_branching_functions():
    counted, runs = counting(smooth)
    inside, outside = fg.grad(fg.jit(counted)), fg.jit(fg.grad(smooth))
    hessian, rng = fg.jit(fg.hessian(smooth)), np.random.default_rng(2)
    for _ in range(40):
        x = rng.normal(size=3) * rng.integers(1, 4)
        want = fg.grad(smooth)(x)
        assert_array_equal(inside(x), want)
        assert_array_equal(outside(x), want)
        assert_allclose(hessian(x), fg.hessian(smooth)(x), rtol=1e-13)
        assert_allclose(fg.jvp(fg.jit(smooth), (x,), (np.ones(3),))[1], np.sum(want), rtol=1e-13)
    assert len(runs) < 20


def test_a_number_that_would_lose_its_derivative_is_refused_on_every_call():
    f = fg.jit(lambda x: x * float(x))
    assert f(3.0) == 9.0
    for _ in range(3):
        with pytest.raises(ConcretizationError, match="stop_gradient"):
            fg.grad(f)(3.0)
        assert f(3.0) == 9.0
    allowed = fg.jit(lambda x: x * float(fg.stop_gradient(x)))
    for _ in range(3):
        assert fg.grad(allowed)(3.0) == 3.0
        assert fg.grad(allowed)(4.0) == 4.0


def test_under_vmap_it_stays_an_error():
    f = fg.jit(lambda x, y: x * y if y > 0 else x)
    assert f(3.0, 2.0) == 6.0
    for _ in range(3):
        assert_array_equal(fg.vmap(f, (0, None))(np.ones(2), 2.0), [2.0, 2.0])
        assert_array_equal(fg.vmap(f, (0, None))(np.ones(2), -2.0), [1.0, 1.0])
        with pytest.raises(ConcretizationError, match="differs by example"):
            fg.vmap(f)(np.ones(2), np.ones(2))


def test_questions_of_inner_functions_reach_the_outer_program():
    """As questions about its own values: not about all of what the inner function got."""
    f, runs = counting(lambda x: fg.grad(lambda y: y**3 if y * x > 4 else y * x)(x))
    g = fg.jit(f)
    for x in (1.0, 1.5, 2.5, 3.0, -3.0, 0.5):
        assert_allclose(g(x), 3 * x**2 if x * x > 4 else x)
    assert len(runs) == 2
    (paths,) = programs(g)
    assert set(paths.root.branches) == {True, False}
    inner = fg.jit(lambda y: y * 2 if y > 1 else y)
    f, runs = counting(lambda x: inner(x) + inner(x + 1))
    g = fg.jit(f)
    for x in (0.0, 0.5, 2.0, 3.0, -1.0, -0.5, 0.7):
        assert g(x) == (2 * x if x > 1 else x) + (2 * x + 2 if x > 0 else x + 1)
    assert len(runs) == 3


def test_a_question_about_two_functions_values():
    def f(x, y):
        return fg.grad(lambda a: fg.grad(lambda b: a * b * b if a * b > y else a**2 * b)(y))(x)

    g = fg.jit(f)
    for x, y in [(2.0, 1.0), (0.5, 1.0), (3.0, -1.0), (-3.0, -1.0)] * 2:
        assert g(x, y) == f(x, y) == (2 * y if x * y > y else 2 * x)


# --- limits --------------------------------------------------------------------------------------


def test_too_many_paths():
    f, runs = counting(lambda x: x * float(x))
    g = fg.jit(f)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for i in range(200):
            assert g(float(i)) == float(i) ** 2
    (warning,) = caught
    assert warning.category is PathLimitWarning
    assert warning.filename == __file__
    assert "x * float(x)" in linecache.getline(__file__, warning.lineno)
    for word in ("float()", "un-jitted", "fg.cond", "fg.while_loop", "np.where", "<lambda>"):
        assert word in str(warning.message)
    assert len(runs) == 200
    traced = len(runs)
    assert [g(float(i)) for i in range(30)] == [float(i) ** 2 for i in range(30)]
    assert len(runs) == traced  # the known paths are still in use
    assert g(1000.0) == 1e6
    (paths,) = programs(g)
    assert len(paths.graphs) <= 1 + 1 + programs_module.MAX_GROWTH // 256


def test_the_warning_as_an_error_breaks_nothing():
    g = fg.jit(lambda x: x * float(x))
    with pytest.raises(PathLimitWarning, match="too many"):
        [g(float(i)) for i in range(200)]
    assert [g(float(i)) for i in range(200)] == [float(i) ** 2 for i in range(200)]


def test_memory_is_bounded():
    @fg.jit
    def f(x):
        if x[0] > 0:
            return x * float(x[1])
        while np.sum(x) < 0:
            x = x + 1
        return x * int(x[2])

    rng = np.random.default_rng(3)

    def call():
        x = rng.normal(size=3) * 10
        f(x)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PathLimitWarning)
        for _ in range(300):
            call()
        tracemalloc.start()
        for _ in range(100):
            call()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(1500):
            call()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    (paths,) = programs(f)
    assert paths.growth <= programs_module.MAX_GROWTH
    assert grown < 3_000_000, grown


@pytest.mark.parametrize("kinds", [3, 10**9])
def test_code_that_does_not_do_the_same_twice(kinds):
    """Impure code's own numbers are frozen, as ever; and what was recorded is never mixed up."""
    rng = random.Random(4)
    draws = iter(lambda: rng.randrange(kinds) + 1, 0)  # jit would refuse rng itself

    def f(x):
        draw = next(draws)
        if np.sum(x * draw) > 2:
            return x * 2
        return x if draw * x[0] > 0 else -x

    g = fg.jit(f)

    def calls(count):
        for x in ([1.0], [0.1], [-1.0], [5.0], [-0.2]) * count:
            x = np.array(x)
            assert g(x).tolist() in ((x * 2).tolist(), x.tolist(), (-x).tolist())

    if kinds == 3:
        calls(20)
    else:
        with pytest.warns(PathLimitWarning):
            calls(20)
        calls(1)  # only once


# --- exceptions, threads -------------------------------------------------------------------------


def test_exceptions_on_a_path_are_raised_again_and_again():
    def f(x):
        if x < 0:
            raise ValueError("negative")
        return np.sqrt(x)

    counted, runs = counting(f)
    g = fg.jit(counted)
    for _ in range(3):
        assert g(4.0) == 2.0
        with pytest.raises(ValueError, match="negative"):
            g(-1.0)
    assert len(runs) == 4
    h = fg.jit(lambda x: x * int(x))
    assert h(2.5) == 5.0
    for _ in range(2):
        with pytest.raises(ValueError, match="NaN"):
            h(math.nan)
        with pytest.raises(OverflowError):
            h(math.inf)
    assert h(3.5) == 10.5


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupted_path_is_not_kept(error):
    fail = [True]

    @fg.jit
    def f(x):
        if x > 0:
            if fail:
                fail.pop()
                raise error
            return x * 2
        return -x

    assert f(-1.0) == 1.0
    with pytest.raises(error):
        f(1.0)
    assert [f(1.0), f(2.0), f(-2.0)] == [2.0, 4.0, 2.0]


def test_threads_that_find_new_paths_at_once():
    def f(x):
        n = 0
        while np.sum(x) > 1:
            x, n = x * 0.5, n + 1
        return x * n if x[0] > 0.1 else x - n

    g, barrier, wrong = fg.jit(f), threading.Barrier(8), []

    def work(seed):
        rng = np.random.default_rng(seed)
        barrier.wait()
        for _ in range(60):
            x = rng.uniform(size=3) * 2.0 ** rng.integers(0, 8)
            if g(x).tobytes() != f(x).tobytes():
                wrong.append(x)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
