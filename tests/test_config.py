"""``fg.config``: what it sets and for whom; ``debug_nans`` finds the operation and the line."""

import threading

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fungrad as fg
from fungrad._config import settings
from fungrad.errors import ArgumentError, NonFiniteError
from tests.test_provenance import line_of

# --- settings ------------------------------------------------------------------------------------


def test_a_call_sets_for_the_process():
    seen = []
    try:
        fg.config(debug_nans=True)
        thread = threading.Thread(target=lambda: seen.append(settings().debug_nans))
        thread.start()
        thread.join()
        assert settings().debug_nans
    finally:
        fg.config(debug_nans=False)
    assert seen == [True]
    assert not settings().debug_nans


def test_a_block_sets_for_itself():
    seen = []
    with fg.config(debug_nans=True):
        thread = threading.Thread(target=lambda: seen.append(settings().debug_nans))
        thread.start()
        thread.join()
        with fg.config(debug_nans=False):
            assert not settings().debug_nans
        with fg.config():
            assert settings().debug_nans
        assert settings().debug_nans
    assert not settings().debug_nans
    assert seen == [False]


def test_a_block_ends_with_an_exception():
    with pytest.raises(KeyError), fg.config(debug_nans=True):
        raise KeyError
    assert not settings().debug_nans


def test_a_block_may_be_entered_again():
    block = fg.config(debug_nans=True)
    for _ in range(2):
        with block:
            assert settings().debug_nans
        assert not settings().debug_nans


def test_blocks_of_threads_do_not_mix():
    barrier, wrong = threading.Barrier(4, timeout=20), []

    def work(flag):
        for _ in range(50):
            with fg.config(debug_nans=flag):
                barrier.wait()
                if settings().debug_nans is not flag:
                    wrong.append(flag)
                barrier.wait()

    threads = [threading.Thread(target=work, args=(bool(i % 2),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_unknown_settings_are_refused():
    with pytest.raises(ArgumentError, match=r"no setting 'debug_nan'; write: one of .*debug_nans"):
        fg.config(debug_nan=True)
    with pytest.raises(ArgumentError, match=r"can't set debug_nans to 1; write: debug_nans=False"):
        fg.config(debug_nans=1)
    assert not settings().debug_nans


# --- debug_nans ----------------------------------------------------------------------------------


def logarithm(x):
    y = x - 1.0
    z = np.log(y)
    return np.sum(z)


def root(x):
    y = np.sqrt(x)
    return np.sum(y)


X = np.array([2.0, 1.0, 3.0])
FORWARD = {
    "jit": lambda: fg.jit(logarithm)(X),
    "value_and_grad": lambda: fg.value_and_grad(logarithm)(X),
    "vjp": lambda: fg.vjp(logarithm, X),
    "jvp": lambda: fg.jvp(logarithm, (X,), (X,)),
    "vmap": lambda: fg.vmap(logarithm)(X[:, None]),
    "jit of vmap": lambda: fg.jit(fg.vmap(logarithm))(X[:, None]),
    "in a function that is differentiated": lambda: fg.grad(lambda a: a * fg.jit(logarithm)(X))(
        1.0
    ),
}
BACKWARD = {
    "grad": lambda: fg.grad(root)(np.array([1.0, 0.0])),
    "value_and_grad": lambda: fg.value_and_grad(root)(np.array([1.0, 0.0])),
    "jit of grad": lambda: fg.jit(fg.grad(root))(np.array([1.0, 0.0])),
    "vmap of grad": lambda: fg.vmap(fg.grad(root))(np.array([1.0, 0.0])),
    "grad of jit": lambda: fg.grad(fg.jit(root))(np.array([1.0, 0.0])),
    "jacobian": lambda: fg.jacobian(root)(np.array([1.0, 0.0])),
    "jvp": lambda: fg.jvp(root, (np.array([1.0, 0.0]),), (np.ones(2),)),
    "hessian": lambda: fg.hessian(root)(np.array([1.0, 0.0])),
}


@pytest.mark.parametrize("name", FORWARD)
def test_the_first_nan_of_the_function(name):
    with fg.config(debug_nans=True), pytest.raises(NonFiniteError) as info:
        FORWARD[name]()
    text = str(info.value)
    assert text.startswith("log gave -inf")
    assert text.endswith(line_of(logarithm, "np.log(y)"))
    assert isinstance(info.value, FloatingPointError)


def test_a_batch_is_no_derivative():
    with fg.config(debug_nans=True), pytest.raises(NonFiniteError) as info:
        FORWARD["vmap"]()
    assert "derivative" not in str(info.value)


@pytest.mark.parametrize("name", BACKWARD)
def test_the_first_nan_of_a_derivative(name):
    with fg.config(debug_nans=True), pytest.raises(NonFiniteError) as info:
        BACKWARD[name]()
    text = str(info.value)
    assert text.startswith("divide gave inf")
    assert "\n  in the derivative of what stands\n" in text
    assert text.endswith(line_of(root, "np.sqrt(x)"))


def test_the_whole_message():
    def f(x):
        return np.sum(np.sqrt(x))

    with fg.config(debug_nans=True), pytest.raises(NonFiniteError) as info:
        fg.value_and_grad(f)(np.array([[4.0, -1.0], [-2.0, 1.0]]))
    assert str(info.value) == (
        "sqrt gave nan at (0, 1), and 2 of 4 entries from finite operands (float64[2,2]); write: "
        "np.where(ok, x, 1.0) before the operation, and np.where(ok, result, value) after it\n"
        + line_of(f, "np.sqrt(x)")
    )


def test_a_program_that_was_compiled_before_is_watched():
    f = fg.jit(fg.value_and_grad(logarithm))
    for _ in range(3):
        f(X + 1.0)
    with fg.config(debug_nans=True):
        f(X + 1.0)
        with pytest.raises(NonFiniteError):
            f(X)
    with np.errstate(divide="ignore"):
        assert f(X)[0] == -np.inf


def test_what_was_not_finite_before_is_not_reported():
    """Constants and arguments may be infinite: only what makes it of finite operands stops."""
    f = lambda x: np.max(np.where(x > 0, x, -np.inf)) + np.max(np.array([np.inf, 1.0]) * x)
    x = np.array([1.0, -1.0])
    with fg.config(debug_nans=True):
        assert fg.jit(f)(x) == f(x) == np.inf
        value, grads = fg.value_and_grad(lambda x: np.sum(x * 2))(np.array([np.nan, 1.0]))
    assert np.isnan(value)
    assert_array_equal(grads, [2.0, 2.0])


def test_results_are_the_same_and_integers_pass():
    f = lambda n, x: (n // 2, np.linalg.eigh(x)[1], np.argmax(x), x > 0, n * 2j)
    x, n = np.array([[2.0, 1.0], [1.0, 3.0]]), np.arange(3)
    want = fg.jit(f)(n, x)
    with fg.config(debug_nans=True):
        got = fg.jit(f)(n, x)
    for a, b in zip(got, want, strict=True):
        assert_array_equal(a, b)


def test_no_warning_comes_before_the_error():
    with fg.config(debug_nans=True), pytest.raises(NonFiniteError, match="overflow|exp gave inf"):
        fg.jit(np.exp)(1000.0)


def test_blocks_entered_at_once_leave_nothing_behind():
    def work():
        for _ in range(300):
            with fg.config(threads=2):
                pass

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert settings().threads is None
    for _ in range(200):
        fg.config(threads=2)
    fg.config(threads=None)
    assert settings().threads is None


# --- threads -------------------------------------------------------------------------------------


def test_the_default_is_the_number_of_cores():
    assert settings().threads is None
    assert settings().workers >= 1
    with fg.config(threads=3):
        assert settings().workers == 3
        with fg.config(threads=None):
            assert settings().workers >= 1


@pytest.mark.parametrize("bad", [0, -1, 1.5, "two", True])
def test_no_number_of_threads(bad):
    with pytest.raises(ArgumentError, match="can't set threads to .*; write: threads=2"):
        fg.config(threads=bad)
    assert settings().threads is None
