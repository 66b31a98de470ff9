"""Errors name the line of the user's file, also those that come after that line has run."""

import inspect
import linecache
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fungrad as fg
from fungrad import _provenance
from fungrad._primitive import Unwritten, elementwise, registry
from fungrad._provenance import Recording, recording
from fungrad.errors import UnsupportedFunctionError

ZEROS = np.zeros((2, 2))


def inverse(x):
    y = x + 0.0
    z = np.linalg.inv(y)
    return np.sum(z)


def line_of(function, text):
    """Where ``text`` stands in a function, as errors say it."""
    lines, start = inspect.getsourcelines(function)
    (number,) = [start + i for i, line in enumerate(lines) if text in line]
    file = inspect.getsourcefile(function)
    where = f"  at {file}:{number}, in {function.__name__}"
    return f"{where}\n    {linecache.getline(file, number).strip()}"


LATE = {
    "grad": lambda: fg.grad(inverse)(ZEROS),
    "value_and_grad": lambda: fg.value_and_grad(inverse)(ZEROS),
    "vjp": lambda: fg.vjp(inverse, ZEROS),
    "jvp": lambda: fg.jvp(inverse, (ZEROS,), (ZEROS,)),
    "jacobian": lambda: fg.jacobian(inverse)(ZEROS),
    "hessian": lambda: fg.hessian(inverse)(ZEROS),
    "vmap": lambda: fg.vmap(inverse)(np.zeros((3, 2, 2))),
    "jit": lambda: fg.jit(inverse)(ZEROS),
    "jit of grad": lambda: fg.jit(fg.grad(inverse))(ZEROS),
    "grad of jit": lambda: fg.grad(fg.jit(inverse))(ZEROS),
    "vmap of grad": lambda: fg.vmap(fg.grad(inverse))(np.zeros((3, 2, 2))),
    "grad inside a function": lambda: fg.grad(lambda x: np.sum(fg.grad(inverse)(x * ZEROS)))(1.0),
}


@pytest.mark.parametrize("name", LATE)
def test_what_fails_while_it_runs_names_the_operations_line(name):
    with pytest.raises(np.linalg.LinAlgError, match="^Singular matrix\n") as info:
        LATE[name]()
    assert info.value.__notes__[-1].endswith(line_of(inverse, "np.linalg.inv(y)"))
    assert recording() is None


def test_compiled_programs_name_it_too():
    f = fg.jit(inverse)
    for _ in range(4):
        assert_allclose(f(np.eye(2)), 2.0)
        with pytest.raises(np.linalg.LinAlgError) as info:
            f(ZEROS)
        assert info.value.__notes__ == [line_of(inverse, "np.linalg.inv(y)")]


@pytest.fixture
def unwritten():
    """A primitive without a derivative, for the length of a test."""
    from fungrad import _primitive

    before = registry()
    value = lambda x: x + 1.0
    yield elementwise(value, Unwritten("a test"), name="test_unwritten")
    _primitive._primitives = before
    del _primitive.answers[value]


def test_a_missing_rule_names_the_line_of_the_operation(unwritten):
    def f(x):
        y = unwritten(x)
        return y * 2.0

    for transform in (fg.grad, fg.jacobian, lambda f: fg.jit(fg.grad(f))):
        with pytest.raises(UnsupportedFunctionError) as info:
            transform(f)(1.0)
        want = "test_unwritten can't be differentiated yet: a test\n"
        assert str(info.value) == want + line_of(f, "unwritten(x)")


def test_in_second_derivatives_the_line_is_the_primal_one():
    def f(x):
        y = np.sqrt(x)
        return y * 2.0

    g = fg.grad(fg.grad(f))
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError) as info:
        g(0.0)
    (note,) = info.value.__notes__
    assert note.startswith("  in the derivative of what stands\n")
    assert note.endswith(line_of(f, "np.sqrt(x)"))


def test_numpys_own_refusals_name_the_line():
    def f(x):
        y = x * 2.0
        return np.sum(y, axis=5)

    for transform in (fg.grad, fg.jit, fg.vmap, fg.hessian):
        with pytest.raises(np.exceptions.AxisError) as info:
            transform(f)(np.ones(3))
        assert info.value.__notes__ == [line_of(f, "axis=5")]


def test_an_error_of_user_code_gets_no_note():
    def f(x):
        return {}["key"]

    with pytest.raises(KeyError) as info:
        fg.grad(f)(1.0)
    assert not hasattr(info.value, "__notes__")


def test_the_function_runs_once_unless_its_program_fails():
    calls = []

    def f(x, good):
        calls.append(1)
        return inverse(x) if good else np.sum(x, axis=7)

    fg.grad(f)(np.eye(2), True)
    assert len(calls) == 1
    with pytest.raises(np.exceptions.AxisError):
        fg.grad(f)(np.eye(2), False)
    assert len(calls) == 2
    with pytest.raises(np.linalg.LinAlgError):
        fg.grad(f)(ZEROS, True)
    assert len(calls) == 4


def test_a_function_that_does_not_fail_again_keeps_its_error():
    results = iter([ZEROS, np.eye(2)])
    with pytest.raises(np.linalg.LinAlgError) as info:
        fg.grad(lambda x: np.sum(np.linalg.inv(x * next(results))))(np.ones((2, 2)))
    assert not hasattr(info.value, "__notes__")
    assert recording() is None


def test_another_error_on_the_way_does_not_hide_the_first():
    results = iter([ZEROS])
    with pytest.raises(np.linalg.LinAlgError):
        fg.grad(lambda x: np.sum(np.linalg.inv(x * next(results))))(np.ones((2, 2)))
    assert recording() is None


def test_nothing_is_recorded_when_nothing_fails(monkeypatch):
    monkeypatch.setattr(Recording, "__init__", None)
    assert fg.grad(inverse)(np.eye(2)).shape == (2, 2)
    assert fg.jit(inverse)(np.eye(2)) == 2.0


def test_recordings_leave_no_nodes_behind():
    import gc
    import weakref

    made = []

    class Watched(Recording):
        __slots__ = ("__weakref__",)

        def __init__(self):
            super().__init__()
            made.append(weakref.ref(self))

    original, _provenance.Recording = _provenance.Recording, Watched
    try:
        with pytest.raises(np.linalg.LinAlgError):
            fg.grad(inverse)(ZEROS)
    finally:
        _provenance.Recording = original
    gc.collect()
    assert made
    assert made[0]() is None


def test_a_script_names_its_own_line(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np, fungrad as fg\n"
        "def f(x):\n"
        "    return np.sum(np.linalg.inv(x))\n"
        "fg.grad(f)(np.zeros((2, 2)))\n"
    )
    out = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert out.returncode == 1
    want = f"Singular matrix\n  at {script}:3, in f\n    return np.sum(np.linalg.inv(x))\n"
    assert out.stderr.endswith(want)
