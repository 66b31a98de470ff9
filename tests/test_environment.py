"""``jit`` sees what a function reads from outside change: closures, globals, defaults, attributes."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

import fungrad as fg

OPTIONAL = None
SCALE = 2.0
RATE = 0.1
step = 0


class Static:
    @staticmethod
    def scaled(x):
        return x * SCALE


class Callable:
    def __call__(self, x):
        return x * SCALE


class Model:
    def __init__(self, w):
        self.w = w

    @fg.jit
    def predict(self, x):
        return np.sum(self.w) * x


def scaled(x):
    return x * SCALE


def rebound(name, value, call):
    """What ``call`` gives before and after a global of this module is bound to another value."""
    old = globals()[name]
    try:
        before = call()
        globals()[name] = value
        return before, call()
    finally:
        globals()[name] = old


def test_a_global_that_was_none():
    f = fg.jit(lambda x: x * 2 if OPTIONAL is None else x * OPTIONAL)
    before, after = rebound("OPTIONAL", np.array([10.0, 20.0]), lambda: f(np.ones(2)))
    assert before.tolist() == [2, 2]
    assert after.tolist() == [10, 20]


def test_a_global_that_was_missing():
    f = fg.jit(lambda x: x * LATER)  # noqa: F821
    with pytest.raises(NameError):
        f(1.0)
    try:
        globals()["LATER"] = 3.0
        assert f(1.0) == 3.0
        globals()["LATER"] = 4.0
        assert f(1.0) == 4.0
    finally:
        globals().pop("LATER", None)


def test_keyword_only_defaults():
    def f(x, *, scale=2.0):
        return x * scale

    jitted = fg.jit(f)
    assert jitted(1.0) == 2.0
    f.__kwdefaults__["scale"] = 5.0
    assert jitted(1.0) == 5.0
    f.__kwdefaults__ = {"scale": 6.0}
    assert jitted(1.0) == 6.0


def test_globals_behind_static_methods_instances_and_arguments():
    for f in (fg.jit(lambda x: Static.scaled(x)), fg.jit(Callable()), fg.jit(scaled)):
        assert rebound("SCALE", 3.0, lambda f=f: f(1.0)) == (2.0, 3.0)
    apply = fg.jit(lambda function, x: function(x))
    assert rebound("SCALE", 3.0, lambda: apply(scaled, 1.0)) == (2.0, 3.0)


def test_a_schedule_that_reads_a_global():
    opt = fg.optim.sgd({"w": 1.0}, lambda step: RATE / (1 + step))
    update = fg.jit(lambda p, opt: opt.update(p, {"w": 1.0})[0]["w"])
    assert rebound("RATE", 0.5, lambda: update({"w": 1.0}, opt)) == (0.9, 0.5)


def test_attributes_of_arguments_and_of_self():
    model = Model(np.ones(2))
    f = fg.jit(lambda model, x: np.sum(model.w) * x)
    assert (f(model, 1.0), model.predict(1.0)) == (2.0, 2.0)
    model.w = 5 * np.ones(2)
    assert (f(model, 1.0), model.predict(1.0)) == (10.0, 10.0)


def test_an_attribute_is_not_a_global_of_the_same_name():
    @attrs.frozen
    class State:
        step: float

    runs = []

    @fg.jit
    def train(p, state):
        runs.append(1)
        return p * state.step

    global step
    for step in range(4):  # noqa: B007
        train(1.0, State(2.0))
    assert len(runs) == 1
