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


class Config:
    rate = 2.0


@attrs.define
class Slotted:
    scale: float = 2.0

    def scaled(self, x):
        return self.scale * x


def test_class_attributes_slots_and_nested_objects():
    read = fg.jit(lambda x: Config.rate * x)
    assert read(1.0) == 2.0
    try:
        Config.rate = 5.0
        assert read(1.0) == 5.0
    finally:
        Config.rate = 2.0
    slotted = Slotted()
    scaled = fg.jit(slotted.scaled)
    assert scaled(1.0) == 2.0
    slotted.scale = 5.0
    assert scaled(1.0) == 5.0


def test_objects_that_make_up_attributes_are_left_alone():
    class Endless(dict):
        def __getattr__(self, name):
            return self.setdefault(name, Endless())

    class Keyed(dict):
        def __getattr__(self, name):
            return self[name]

    endless, keyed = Endless(rate=2.0), Keyed(rate=2.0)
    assert fg.jit(lambda x: endless["rate"] * x)(1.0) == 2.0
    assert fg.jit(lambda x: keyed["rate"] * x)(1.0) == 2.0
    assert list(endless) == ["rate"]


def test_an_attribute_that_is_not_read_may_change():
    model, runs = Model(np.ones(2)), []
    f = fg.jit(lambda x: (runs.append(1), np.sum(model.w) * x)[1])
    for count in range(4):
        model.count = count
        assert f(1.0) == 2.0
    assert len(runs) == 1
