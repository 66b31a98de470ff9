"""``jit`` sees what a function reads from outside change: closures, globals, defaults, attributes."""

from __future__ import annotations

import argparse
import array
import collections
import contextvars
import dataclasses
import functools
import operator
import sys
import warnings
from importlib import import_module
from types import FunctionType, MappingProxyType, MethodType, ModuleType, SimpleNamespace
from unittest.mock import Mock

import attrs
import numpy as np
import pytest

import fungrad as fg
from fungrad.transforms._observe import observe
from tests.test_jit import counting

environment_module = import_module("fungrad.transforms._environment")
pytestmark = pytest.mark.usefixtures("hotness")

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


def test_a_closure_variable_that_was_missing():
    def f(x):
        try:
            return x * late
        except NameError:
            return x

    g = fg.jit(f)
    for _ in range(4):
        assert g(1.0) == 1.0
    late = 5.0
    assert g(1.0) == 5.0
    del late
    assert g(1.0) == 1.0


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


def test_objects_that_claim_to_be_of_another_class():
    for kind in (dict, list, set, tuple, np.ndarray):
        mock = Mock(spec=kind)
        mock.rate = 2.0
        assert fg.jit(lambda x, mock=mock: x * mock.rate)(1.0) == 2.0


def test_arrays_of_other_classes():
    class Odd(np.ndarray):
        def __getitem__(self, index):
            raise AssertionError

    odd = np.ones(3).view(Odd)
    f = fg.jit(lambda x: x * float(np.asarray(odd)[0]))
    assert f(1.0) == 1.0
    np.asarray(odd)[:] = 5.0
    assert f(1.0) == 5.0


def test_an_attribute_that_comes_before_the_one_of_the_class():
    class Base:
        rate = 2.0

    class Derived(Base):
        pass

    one, argument = Derived(), Derived()
    f, g = fg.jit(lambda x: one.rate * x), fg.jit(lambda model, x: model.rate * x)
    assert (f(1.0), g(argument, 1.0)) == (2.0, 2.0)
    one.rate = argument.rate = 5.0
    assert (f(1.0), g(argument, 1.0)) == (5.0, 5.0)
    del one.rate
    Derived.rate = 7.0
    assert (f(1.0), g(argument, 1.0)) == (7.0, 5.0)
    del argument.rate
    assert g(argument, 1.0) == 7.0


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


# --- contents ------------------------------------------------------------------------------------


def test_entries_of_containers():
    config, scales, names = {"rate": 2.0, "deep": {"er": [3.0]}}, [5.0, 7.0], {"sin"}

    def f(x):
        y = x * config["rate"] + config["deep"]["er"][0] + scales[-1]
        return np.sin(y) if "sin" in names else y

    g, runs = fg.jit(lambda x: (runs.append(1), f(x))[1]), []
    changes = [
        lambda: config.update(rate=4.0),
        lambda: config["deep"].update(er=[1.0]),
        lambda: config["deep"]["er"].insert(0, -1.0),
        lambda: scales.append(0.5),
        lambda: scales.__setitem__(2, 0.25),
        lambda: names.clear(),
        lambda: config.update(rate=-0.0),
        lambda: config.update(rate=0),
    ]
    for change in changes:
        change()
        for _ in range(3):
            assert g(2.0) == f(2.0)
    assert len(runs) == len(changes)


def test_numbers_in_containers_are_compared_by_bits():
    config = {"rate": 1000.5, "other": 1000}
    f, runs = counting(lambda x: x * config["rate"])
    g = fg.jit(f)
    for _ in range(4):
        config["rate"], config["other"] = float("1000.5"), int("1000")  # equal, but new objects
        assert g(2.0) == 2001.0
    assert len(runs) == 1


def test_attributes_of_attributes_and_of_entries():
    class Node:
        def __init__(self, **fields):
            self.__dict__.update(fields)

    model = Node(config=Node(rate=2.0), layers=[Node(w=1.0), Node(w=np.ones(2))])

    def f(x):
        return model.config.rate * model.layers[0].w * x + model.layers[1].w

    g = fg.jit(f)
    argument = fg.jit(lambda model, x: model.config.rate * model.layers[0].w * x)
    for change in (
        lambda: None,
        lambda: setattr(model.config, "rate", 5.0),
        lambda: setattr(model.layers[0], "w", 3.0),
        lambda: setattr(model.layers[1], "w", np.full(2, 9.0)),
        lambda: model.layers.__setitem__(0, Node(w=-1.0)),
        lambda: setattr(model, "config", Node(rate=7.0)),
    ):
        change()
        for _ in range(2):
            assert g(2.0).tolist() == f(2.0).tolist()
            assert argument(model, 2.0) == model.config.rate * model.layers[0].w * 2.0


def test_what_the_function_itself_writes_does_not_make_it_run_again():
    log, cache, scratch = [], {}, np.zeros(3)

    def f(x):
        log.append("ran")
        cache.setdefault(len(cache), x.shape)
        scratch[:] = len(log)
        return x * 2

    g = fg.jit(f)
    for _ in range(3):
        for x in (np.ones(2), np.ones(3)):
            assert g(x).tolist() == (x * 2).tolist()
    assert len(log) == 2


@pytest.mark.parametrize("size", [3, 100_000])
@pytest.mark.parametrize("order", ["C", "F"])
def test_writing_into_arrays_that_code_looks_at(size, order):
    """Seen although no traced operation reads them."""
    table = np.asarray(np.ones((size, 2)), order=order)
    box = {"table": table, "deep": [table * 2]}

    def f(x):
        flat = np.sum(table[:2]) if table[0, 0] < 3 else 0.0
        return x * flat + float(np.max(box["deep"][0]))

    g = fg.jit(f)
    for factor in (1.0, 2.0, 3.0, 0.1):
        table[...] *= factor
        box["deep"][0][...] += 1
        for _ in range(2):
            assert g(2.0) == f(2.0)


def test_writing_into_arrays_of_which_something_is_computed_before():
    """Half of it is in the program, half is not: never the one new and the other old."""
    weights = np.ones(3)
    f, runs = counting(lambda x: x * weights / np.sum(weights))
    g = fg.jit(f)
    for i in range(1, 5):
        weights[0] = i
        for _ in range(2):
            assert g(1.0).tolist() == (weights / np.sum(weights)).tolist()
    assert len(runs) == 4


def test_writing_into_arrays_that_the_program_reads_does_not_trace_for_ever():
    data, bias = np.ones(3), np.zeros(3)
    f, runs = counting(lambda x: np.exp(x * data) + bias)
    g = fg.jit(f)
    for i in range(20):
        data[:] = i / 10
        bias[i % 3] += 1
        for x in (1.0, np.ones(3)):
            assert g(x).tolist() == (np.exp(x * data) + bias).tolist()
    assert len(runs) == 4  # once more for each kind of arguments
    data, bias = np.full(3, 5.0), np.zeros(3)
    assert g(1.0).tolist() == np.exp(data).tolist()
    assert len(runs) == 5


def test_writing_into_arrays_that_decide_a_result_that_is_no_array():
    table = np.ones(2)
    f = fg.jit(lambda x: (x * table, int(table[0]), "big" if table[0] > 3 else "small"))
    for value in (1.0, 2.0, 3.0, 4.0, 5.0):
        table[:] = value
        for _ in range(2):
            scaled, number, name = f(1.0)
            assert (scaled.tolist(), number) == ([value] * 2, value)
            assert name == ("big" if value > 3 else "small")


def test_writing_into_two_arrays_of_which_the_program_reads_one():
    """What is known of the one is not concluded of the other, nor of other paths."""
    data, limit = np.ones(2), np.ones(2)
    f = fg.jit(lambda x: x * data if np.sum(x) > 0 else x * data * float(np.max(limit)))
    for value in (1.0, 2.0, 3.0, 4.0):
        data[:] = limit[:] = value
        for x in (1.0, -1.0, 2.0, -2.0):
            assert f(x).tolist() == [x * value * (1 if x > 0 else value)] * 2


def test_training_in_place_through_self():
    model = Model(np.ones(2))
    runs = []

    @fg.jit
    def loss(model, x):
        runs.append(1)
        return np.sum(x * model.w)

    x = np.array([1.0, 2.0])
    for _ in range(10):
        assert loss(model, x) == np.sum(x * model.w)
        model.w -= 0.1
    assert len(runs) == 2


# --- what is not seen: stated in the docstring of jit ---------------------------------------------


def test_footgun_one_entry_of_a_large_array_that_code_looks_at():
    table = np.zeros(100_000)
    f = fg.jit(lambda x: x * float(np.max(table)) + 1)
    assert f(1.0) == 1.0
    table[12_345] = 5.0
    assert f(1.0) == 1.0  # NumPy: 6.0
    table[:] = 5.0
    assert f(1.0) == 6.0


def test_footgun_a_long_list_of_the_same_length():
    many = [1.0] * 1000
    f = fg.jit(lambda x: x * many[500])
    assert f(1.0) == 1.0
    many[500] = 5.0
    assert f(1.0) == 1.0  # Python: 5.0
    many.append(0.0)
    assert f(1.0) == 5.0


def test_footgun_an_array_that_is_captured_and_branched_upon():
    """Once its program has proved to read the array, Python code that does so too is forgotten."""
    limits = np.array([1.0, 2.0])
    f = fg.jit(lambda x: x * limits if limits[0] < 10 else -x * limits)
    assert f(1.0).tolist() == [1.0, 2.0]
    limits[:] = 3.0
    assert f(1.0).tolist() == [3.0, 3.0]
    limits[:] = 20.0
    assert f(1.0).tolist() == [20.0, 20.0]  # NumPy: [-20.0, -20.0]


class Registry:
    """Look-ups and operators of its own, in front of what it holds."""

    def __init__(self, **entries):
        self.entries = entries

    def __getitem__(self, name):
        return self.entries[name]

    def __getattr__(self, name):
        return self.entries["fallback"]

    def __rmul__(self, x):
        return x * self.entries["factor"]


def tried(space):
    try:
        return space.factor
    except AttributeError:
        return 1.0


SHELF = {
    "a namespace": (lambda s: s["space"].rate, lambda s: setattr(s["space"], "rate", 5.0)),
    "arguments of a script": (lambda s: s["options"].rate, lambda s: setattr(s["options"], "rate", 5.0)),
    "a deque": (lambda s: s["queue"][0], lambda s: s["queue"].appendleft(5.0)),
    "a wrapped dict": (lambda s: s["user"]["rate"], lambda s: s["user"].update(rate=5.0)),
    "a chain of dicts": (lambda s: s["chain"]["rate"], lambda s: s["chain"].update(rate=5.0)),
    "a view of a dict": (lambda s: s["proxy"]["rate"], lambda s: s["behind"].update(rate=5.0)),
    "a context variable": (lambda s: s["context"].get(), lambda s: s["context"].set(5.0)),
    "an item": (lambda s: s["config"]["rate"], lambda s: s["config"].entries.update(rate=5.0)),
    "an attribute made up": (
        lambda s: s["config"].unheard, lambda s: s["config"].entries.update(fallback=5.0)
    ),
    "an operator": (lambda s: 1.0 * s["config"], lambda s: s["config"].entries.update(factor=5.0)),
    "an attribute by its name": (
        lambda s: getattr(s["space"], "rate"), lambda s: setattr(s["space"], "rate", 5.0)  # noqa: B009
    ),
    "an attribute there may be": (
        lambda s: s["space"].factor if hasattr(s["space"], "factor") else 1.0,
        lambda s: setattr(s["space"], "factor", 5.0),
    ),
    "an attribute with a default": (
        lambda s: getattr(s["space"], "factor", 1.0), lambda s: setattr(s["space"], "factor", 5.0)
    ),
    "an attribute tried": (lambda s: tried(s["space"]), lambda s: setattr(s["space"], "factor", 5.0)),
    "an attribute in the place of one made up": (
        lambda s: s["config"].unheard, lambda s: setattr(s["config"], "unheard", 5.0)
    ),
    "an entry of vars": (lambda s: vars(s["space"])["rate"], lambda s: setattr(s["space"], "rate", 5.0)),
}  # fmt: skip


@pytest.mark.parametrize("name", SHELF)
def test_whatever_holds_a_number(name):
    behind = {"rate": 1.0}
    shelf = {
        "space": SimpleNamespace(rate=1.0),
        "options": argparse.Namespace(rate=1.0),
        "queue": collections.deque([1.0]),
        "user": collections.UserDict(rate=1.0),
        "chain": collections.ChainMap({"rate": 1.0}),
        "behind": behind,
        "proxy": MappingProxyType(behind),
        "context": contextvars.ContextVar("rate", default=1.0),
        "config": Registry(rate=1.0, fallback=1.0, factor=1.0),
    }
    read, change = SHELF[name]
    f = fg.jit(lambda x: x * read(shelf))
    assert [f(2.0), f(2.0)] == [2.0, 2.0]
    contextvars.copy_context().run(lambda: (change(shelf), check(f)))


def check(f):
    assert [f(2.0), f(2.0)] == [10.0, 10.0]


class Pretender:
    """What claims to be of any class."""

    def __init__(self, kind):
        self.kind = kind

    def __getattribute__(self, name):
        if name == "__class__":
            return object.__getattribute__(self, "kind")
        return object.__getattribute__(self, name)


KINDS = (FunctionType, ModuleType, MethodType, type, property, staticmethod, functools.partial)


@pytest.mark.parametrize("kind", KINDS)
def test_objects_that_claim_to_be_functions_or_modules(kind):
    pretender = Pretender(kind)
    pretender.rate = 1.0
    f = fg.jit(lambda x: x * pretender.rate)
    assert [f(2.0), f(2.0)] == [2.0, 2.0]
    pretender.rate = 5.0
    check(f)


def test_an_array_that_is_looked_at_last():
    """Attributes count whatever else is read, in whatever order."""
    for names in ("ab", "ba"):
        space = SimpleNamespace(rate=1.0)
        read = {names[0]: np.ones(2), names[1]: space}
        code = "a.rate * b" if names == "ba" else "b.rate * a"
        world = {}
        exec(f"def outer(a, b):\n    return lambda x: x * {code}", world)
        f = fg.jit(world["outer"](**read))
        assert f(2.0).tolist() == [2.0, 2.0]
        space.rate = 5.0
        assert f(2.0).tolist() == [10.0, 10.0]


class Derived(np.ndarray):
    """An array with an attribute."""


class Made:
    def __init__(self, x):
        self.value = x * SCALE


@attrs.define
class MadeByAttrs:
    x: object
    value: object = None

    def __attrs_post_init__(self):
        self.value = self.x * SCALE


class New:
    def __new__(cls, x):
        return x * SCALE


@pytest.mark.parametrize(
    "make",
    [lambda x: Made(x).value, lambda x: MadeByAttrs(x).value, New],
    ids=["init", "attrs", "new"],
)
def test_what_making_an_object_reads(make):
    f = fg.jit(lambda x: make(x))
    assert rebound("SCALE", 3.0, lambda: f(1.0)) == (2.0, 3.0)


def test_attributes_of_functions_and_of_arrays():
    def scaled(x):
        return x * scaled.factor

    scaled.factor = 1.0
    array_ = np.ones(2).view(Derived)
    array_.unit = 1.0
    for f, subject, name in (
        (fg.jit(scaled), scaled, "factor"),
        (fg.jit(lambda x: x * array_.unit), array_, "unit"),
    ):
        assert f(1.0) == 1.0
        setattr(subject, name, 5.0)
        assert f(1.0) == 5.0


def test_modules_that_are_imported_while_the_function_runs(monkeypatch):
    package, module = ModuleType("fg_package"), ModuleType("fg_package.inner")
    package.inner, package.__path__ = module, []
    monkeypatch.setitem(sys.modules, "fg_package", package)
    monkeypatch.setitem(sys.modules, "fg_package.inner", module)
    texts = (
        "import fg_package.inner\n    return x * fg_package.inner.rate",
        "import fg_package.inner as m\n    return x * m.rate",
        "from fg_package.inner import rate\n    return x * rate",
        "from fg_package import inner\n    return x * inner.scaled(1.0)",
        "from . import inner\n    return x * inner.rate",
        "from .inner import rate\n    return x * rate",
    )
    module.scaled = lambda x: x * module.rate
    for text in texts:
        module.rate = 1.0
        world = {"__name__": "fg_package.user", "__package__": "fg_package"}
        exec(f"def f(x):\n    {text}", world)
        f = fg.jit(world["f"])
        assert f(1.0) == 1.0
        module.rate = 5.0
        assert f(1.0) == 5.0, text


def test_another_module_under_a_name():
    first, second = ModuleType("first"), ModuleType("second")
    first.rate, second.rate = 1.0, 5.0
    world = {"backend": first}
    exec("def f(x):\n    return x * backend.rate", world)
    f = fg.jit(world["f"])
    assert f(1.0) == 1.0
    world["backend"] = second
    assert f(1.0) == 5.0


@attrs.define(eq=False)
class Slots:
    rate: float = 1.0


@dataclasses.dataclass(eq=False)
class Plain:
    rate: float = 1.0


READ_BY_NAME = {
    "getattr": lambda o, name: getattr(o, name),
    "an f-string": lambda o, name: getattr(o, f"{name[0]}{name[1:]}"),
    "map": lambda o, name: sum(map(functools.partial(getattr, o), [name])),
    "nested": lambda o, name: getattr(getattr(o, name), "real"),  # noqa: B009
    "dotted": lambda o, name: operator.attrgetter("rate.real")(o),
    "values": lambda o, name: sum(vars(o).values()),
    "items": lambda o, name: {**o.__dict__}[name],
    "fields": lambda o, name: sum(getattr(o, one.name) for one in dataclasses.fields(o)),
    "asdict": lambda o, name: dataclasses.asdict(o)[name],
}


@pytest.mark.parametrize(
    ("kind", "how"),
    [(Plain, how) for how in READ_BY_NAME] + [(Slots, how) for how in [*READ_BY_NAME][:5]],
)
def test_attributes_that_no_code_names(kind, how):
    subject, name, read = kind(), "".join(["ra", "te"]), READ_BY_NAME[how]
    f = fg.jit(lambda x: x * read(subject, name))
    assert f(1.0) == 1.0
    subject.rate = 5.0
    assert f(1.0) == 5.0


def test_attributes_that_are_added():
    space = SimpleNamespace(rate=1.0)
    f = fg.jit(lambda x: x * sum(vars(space).values()))
    assert f(1.0) == 1.0
    space.other = 4.0
    assert f(1.0) == 5.0


def test_a_method_that_no_code_names():
    class Layer:
        def forward_train(self, x):
            return x * RATE

    layer, mode = Layer(), "train"
    f = fg.jit(lambda x: getattr(layer, f"forward_{mode}")(x))
    assert rebound("RATE", 5.0, lambda: f(2.0)) == (0.2, 10.0)


def test_attributes_that_code_names_are_watched_alone():
    """What else the object counts does not trace again."""
    space = SimpleNamespace(rate=1.0, steps=0)
    f, runs = counting(lambda x: x * getattr(space, "rate", 2.0) if hasattr(space, "rate") else x)
    f = fg.jit(f)
    for _ in range(5):
        assert f(1.0) == 1.0
        space.steps += 1
    assert len(runs) == 1


class Wrapper:
    """Hands on what is asked of it."""

    def __init__(self, inner, **own):
        self.inner = inner
        self.__dict__.update(own)

    def __getattr__(self, name):
        return getattr(self.inner, name)


class Prefixed(Wrapper):
    def __getattr__(self, name):
        name = "own_" + name
        return getattr(self.inner, name)


def test_attributes_that_are_handed_on_are_watched_alone():
    space = SimpleNamespace(rate=1.0, steps=0)
    f, runs = counting(lambda x: x * Wrapper(space, scale=2.0).rate)
    f = fg.jit(f)
    for _ in range(4):
        assert f(1.0) == 1.0
        space.steps += 1
    assert len(runs) == 1
    space.rate = 5.0
    assert f(1.0) == 5.0


def test_an_attribute_there_may_be_for_code_that_is_found_later():
    """The method is known only after the attributes of the object have been looked up once."""
    space = SimpleNamespace(rate=1.0)

    class Layer:
        def scaled(self, x):
            return x * getattr(space, "factor", 1.0)

    layer = Layer()
    f = fg.jit(lambda x: layer.scaled(x) * space.rate)
    assert f(1.0) == 1.0
    space.factor = 5.0
    assert f(1.0) == 5.0


def test_attributes_that_are_handed_on_by_another_name():
    space = SimpleNamespace(own_rate=1.0)
    f = fg.jit(lambda x: x * Prefixed(space).rate)
    assert f(1.0) == 1.0
    space.own_rate = 5.0
    assert f(1.0) == 5.0


def test_a_global_by_its_name():
    f = fg.jit(lambda x: x * globals()["RATE"])
    assert rebound("RATE", 5.0, lambda: f(2.0)) == (0.2, 10.0)


def test_footgun_files_clocks_and_objects_of_other_kinds():
    numbers = array.array("d", [1.0])
    f = fg.jit(lambda x: x * numbers[0])
    assert f(1.0) == 1.0
    numbers[0] = 5.0
    assert f(1.0) == 1.0  # Python: 5.0


def test_the_code_of_installed_packages_is_not_walked():
    environment = observe(lambda x: pytest.approx(x).expected)
    assert any(name == "approx" for _, name, _ in environment.names)
    assert len(environment.names) < 20


@pytest.mark.parametrize("function", [np.exp, lambda x: x * 2], ids=["a ufunc", "no names"])
def test_what_reads_nothing_is_called_often(function):
    g, x = fg.jit(function), np.ones(3)
    for _ in range(300):
        assert np.array_equal(g(x), function(x))


def test_footgun_errstate_inside_of_the_function():
    """Nodes have no place for it; around the call it holds."""

    def f(x):
        with np.errstate(divide="ignore"):
            return 1 / x

    g, x = fg.jit(f), np.zeros(2)
    for _ in range(3):
        with pytest.warns(RuntimeWarning, match="divide by zero"):
            g(x)
        with np.errstate(divide="ignore"):
            assert np.isinf(g(x)).all()


def test_very_many_variables():
    count = environment_module.MOST + 1
    world = {f"v{i}": float(i) for i in range(count)} | {"__name__": "many"}
    total = " + ".join([f"v{i}" for i in range(count)])
    exec(f"def f(x):\n    return x * ({total})", world)
    f = fg.jit(world["f"])
    for v0 in (0.0, 1.0):
        world["v0"] = v0
        for _ in range(4):
            assert f(2.0) == world["f"](2.0)


def test_arrays_that_get_another_shape_in_place():
    table = np.ones(6)
    f = fg.jit(lambda x: x * np.sum(table) + table.shape[0])
    assert f(1.0) == 12.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        table.shape = (2, 3)
    assert f(1.0) == 8.0


def test_arrays_that_are_written_to_may_get_another_shape():
    table = np.ones(4)
    f, runs = counting(lambda x: np.sum(x * table))
    g = fg.jit(f)
    for i in range(100):
        table[0] = i
        assert g(np.ones(4)) == i + 3.0
    assert len(runs) <= 2  # the program reads the array: what is written is no reason to trace
    for _ in range(3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            table.shape = (*table.shape, 1)
        for _ in range(100):
            assert np.sum(g(np.ones(4))) == np.sum(np.ones(4) * table)
        table[1] += 1.0
        assert g(np.ones(4)) == np.sum(np.ones(4) * table)
    assert len(runs) <= 8


def test_what_objects_have_in_common_is_compared_once():
    class Layer:
        factor = 0.5

        def __init__(self, w):
            self.w = w

        def scaled(self, x):
            return x * self.w * self.factor

    layers = [Layer(float(i)) for i in range(1, 11)]

    def f(x):
        return sum([layer.scaled(x) for layer in layers])

    names = observe(f).names
    assert [name for _, name, value in names if value == 0.5] == ["factor"]
    assert [name for _, name, value in names if value is Layer.scaled] == ["scaled"]
    g = fg.jit(f)
    for factor in (2.0, 3.0):
        Layer.factor = factor
        assert g(1.0) == 55.0 * factor
    layers[3].factor = 0.0
    assert g(1.0) == 51.0 * 3.0


def test_ordered_dicts_whose_order_changes():
    rates = collections.OrderedDict(a=1.0, b=2.0)
    f = fg.jit(lambda x: x * next(iter(rates.values())))
    assert f(1.0) == 1.0
    rates.move_to_end("a")
    assert f(1.0) == 2.0


def test_attributes_that_made_functions_read():
    config = SimpleNamespace(inner=SimpleNamespace(rate=2.0), scale=lambda x: x)
    rate, scaled = operator.attrgetter("inner.rate"), operator.methodcaller("scale", x=3.0)
    f = fg.jit(lambda x: x * rate(config) + scaled(config))
    assert f(1.0) == 5.0
    config.inner.rate = 5.0
    assert f(1.0) == 8.0
    config.scale = lambda x: 2 * x
    assert f(1.0) == 11.0
