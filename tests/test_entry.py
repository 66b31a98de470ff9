"""The entries of jitted functions: like the general way, and not taken where a call is unlike."""

import gc
import threading
import weakref
from collections import OrderedDict, namedtuple
from functools import partial
from importlib import import_module
from types import SimpleNamespace

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyrsistent import pmap, pvector

import fungrad as fg
from fungrad.transforms._entry import no_entry
from fungrad.transforms.jit import Jitted
from tests.test_jit import counting

programs_module = import_module("fungrad.transforms._programs")
entry_module = import_module("fungrad.transforms._entry")
CALLS = 4
"""After so many calls there are entries in these tests."""

Pair = namedtuple("Pair", "first second")


@attrs.frozen
class Layer:
    w: object
    kind: object = attrs.field(metadata={"static": True})


class Thing:
    """A leaf that selects a program by its identity."""


THING, OTHER = Thing(), Thing()


@pytest.fixture(autouse=True)
def hot(monkeypatch):
    monkeypatch.setattr(programs_module, "HOT", 2)


def entered(f, *args, **kwargs):
    """The jitted function, which has an entry for such calls."""
    g = f if isinstance(f, Jitted) else fg.jit(f)
    for _ in range(CALLS):
        g(*args, **kwargs)
    assert g._programs.entry is not no_entry
    return g


def straight(g, *args, **kwargs):
    """The result by the entry; ``UNKNOWN`` if the call is left to the general way."""
    return g._programs.entry(args, kwargs)


def left(g, *args, **kwargs):
    return straight(g, *args, **kwargs) is entry_module.UNKNOWN


def described(tree):
    """Everything that makes a difference between trees: classes, keys in order, dtypes, bits."""
    kind = type(tree)
    if isinstance(tree, np.ndarray):
        return kind, tree.shape, tree.dtype.str, tree.tobytes()
    if isinstance(tree, np.generic):
        return kind, tree.tobytes()
    if isinstance(tree, dict):
        return kind, [(type(k), k, described(v)) for k, v in tree.items()]
    if isinstance(tree, (list, tuple)):
        return kind, list(map(described, tree))
    if attrs.has(kind):
        return kind, [described(getattr(tree, field.name)) for field in attrs.fields(kind)]
    if isinstance(tree, type(pmap())):
        return kind, sorted([(k, described(v)) for k, v in tree.items()])
    if isinstance(tree, type(pvector())):
        return kind, list(map(described, tree))
    if kind in (float, complex):
        return kind, np.complex128(tree).tobytes()
    return kind, tree if isinstance(tree, (bool, int, str)) or tree is None else id(tree)


# --- any arguments -------------------------------------------------------------------------------

ARRAYS = [
    np.arange(6.0).reshape(2, 3),
    np.arange(6.0).reshape(3, 2).T,
    np.arange(6.0),
    np.arange(12.0)[::2],
    np.arange(6, dtype=np.float32),
    np.arange(6),
    np.array(True),
    np.array(2.5),
    np.zeros(0),
    np.ones(3, ">f8"),
]
NUMBERS = [
    1.5,
    -0.0,
    3,
    True,
    False,
    2j,
    np.float64(1.5),
    np.float32(1.5),
    np.int64(3),
    np.bool_(1),
]
OTHERS = [
    None,
    "a",
    "b",
    b"a",
    THING,
    OTHER,
    np.sin,
    np.float64,
    (),
    [],
    {},
    slice(1),
    frozenset([1]),
]
LEAVES = st.sampled_from([*ARRAYS, *NUMBERS, *OTHERS])
KEYS = st.sampled_from(["a", "b", "c", 1, True, (1,), (True,), b"a", None])


def containers(trees):
    few = st.lists(trees, max_size=3)
    return st.one_of(
        few,
        few.map(tuple),
        st.dictionaries(KEYS, trees, max_size=3),
        st.dictionaries(st.sampled_from("abc"), trees, max_size=3).map(OrderedDict),
        st.dictionaries(st.sampled_from("abc"), trees, max_size=3).map(pmap),
        few.map(pvector),
        st.tuples(trees, trees).map(lambda pair: Pair(*pair)),
        st.builds(Layer, trees, st.sampled_from([1, 1.0, True, "a", None, 0.0, -0.0])),
    )


TREES = st.recursive(LEAVES, containers, max_leaves=6)
CALLED = st.tuples(
    st.lists(TREES, max_size=3).map(tuple),
    st.dictionaries(st.sampled_from("xyz"), TREES, max_size=2),
)


def twice(*args, **kwargs):
    """Twice each leaf that is a number or array, and which others there are."""

    def each(leaf):
        selecting = isinstance(leaf, (bool, str, bytes, Thing, slice, frozenset)) or callable(leaf)
        return leaf if selecting else leaf * 2

    return fg.tree.map(each, (args, kwargs)), len(args)


def outcome(f, call):
    args, kwargs = call
    try:
        return described(f(*args, **kwargs))
    except Exception as error:
        return type(error), str(error)


@given(first=CALLED, second=CALLED)
@settings(max_examples=300)
def test_calls_that_are_like_many_before_and_others(first, second):
    """By the entry as by a function that is jitted anew, and without."""
    g = fg.jit(twice)
    for call in (*[first] * CALLS, second, first, *[second] * CALLS, first):
        assert outcome(g, call) == outcome(fg.jit(twice), call)


CHANGES = {
    "dtype": lambda x: x.astype(np.float32),
    "shape": lambda x: x[:1],
    "order": lambda x: np.asfortranarray(x),
    "strides": lambda x: np.repeat(x, 2, axis=0)[::2],
    "class": lambda x: x.view(np.memmap) if hasattr(x, "offset") else np.float64(3.0),
    "a number": lambda x: 3.0,
    "an integer": lambda x: 3,
    "a truth": lambda x: True,
    "none": lambda x: None,
    "a list": lambda x: [x],
    "a text": lambda x: "x",
    "byte order": lambda x: x.astype(">f8"),
    "a tracer": None,
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_another_kind_of_argument_is_left_to_the_general_way(name, place):
    x = np.arange(6.0).reshape(2, 3)
    args = [x, {"a": [x, x], "b": 1.5}, (x, Layer(x, "tanh"))]
    g = entered(twice, *args)
    assert not left(g, *args)
    holders = [
        lambda new: [new, *args[1:]],
        lambda new: [x, {"a": [x, new], "b": 1.5}, args[2]],
        lambda new: [*args[:2], (x, Layer(new, "tanh"))],
    ]
    if name == "a tracer":
        unlike = []
        fg.grad(lambda t: (unlike.append(left(g, *holders[place](t))), np.sum(t))[1])(x)
        assert unlike == [True]
    else:
        assert left(g, *holders[place](CHANGES[name](x)))


def test_other_structures_are_left_to_the_general_way():
    x = np.ones(2)
    tree = {"a": x, "b": (x, [x])}
    g = entered(twice, tree, key=x)
    assert not left(g, tree, key=x)
    others = [
        {"a": x},
        {"a": x, "b": (x, [x]), "c": x},
        {"a": x, "c": (x, [x])},
        {"a": x, "b": (x, (x,))},
        {"a": x, "b": (x, [x, x])},
        {"a": x, "b": (x, [])},
        {"a": x, "b": (x,)},
        {"b": (x, [x]), "a": x},
        OrderedDict(tree),
        pmap(tree),
        None,
        x,
        (),
    ]
    for other in others:
        assert left(g, other, key=x)
    for args, kwargs in [((), {"key": x}), ((tree,), {}), ((tree, x), {}), ((tree,), {"kez": x})]:
        assert left(g, *args, **kwargs)


def test_keys_that_are_equal_but_not_the_same():
    class Word(str):
        __slots__ = ()

    for key, others in {"a": [Word("a")], 1: [True, 1.0], (1,): [(True,), (1.0,)]}.items():
        g = entered(twice, {key: 1.0})
        assert not left(g, {key: 1.0})
        for other in others:
            assert left(g, {other: 1.0})


def test_static_arguments():
    def power(x, n, *, kind="a", of=None):
        return (x**n, kind, of)

    g = fg.jit(power, static_argnums=1, static_argnames=("kind", "of"))
    call = partial(g, 2.0, 3, kind="b", of=(1, 0.0))
    entered(g, 2.0, 3, kind="b", of=(1, 0.0))
    assert call() == straight(g, 2.0, 3, kind="b", of=(1, 0.0)) == (8.0, "b", (1, 0.0))
    for args, kwargs in [
        ((2.0, 2), {"kind": "b", "of": (1, 0.0)}),
        ((2.0, 3.0), {"kind": "b", "of": (1, 0.0)}),
        ((2.0, True), {"kind": "b", "of": (1, 0.0)}),
        ((2.0, 3), {"kind": "c", "of": (1, 0.0)}),
        ((2.0, 3), {"kind": "b", "of": (1, -0.0)}),
        ((2.0, 3), {"kind": "b", "of": (True, 0.0)}),
        ((2.0, 3), {"kind": "b"}),
        ((2.0,), {"n": 3, "kind": "b", "of": (1, 0.0)}),
        ((2.0, 3), {"kind": "b", "of": []}),
    ]:
        assert left(g, *args, **kwargs)
    with pytest.raises(fg.errors.StaticArgumentError):
        g(2.0, 3, kind="b", of=[1])
    assert call() == (8.0, "b", (1, 0.0))


def test_a_class_that_becomes_a_container():
    class Box:
        def __init__(self, x):
            self.x = x

    box = Box(2.0)
    g = entered(lambda box, y: box.x * y, box, 3.0)
    assert not left(g, box, 3.0)
    fg.tree.register(Box, lambda box: ((box.x,), None), lambda aux, children: Box(*children))
    assert left(g, box, 3.0)
    assert g(Box(5.0), 3.0) == 15.0


# --- what it reads -------------------------------------------------------------------------------


def test_the_way_is_straight():
    """A call that is like many before does without the general way."""
    g = entered(lambda p, x: {"y": p["w"] * x, "n": (2, None)}, {"w": np.ones(3)}, 2.0)
    g._call = None
    result = g({"w": np.full(3, 5.0)}, 3.0)
    assert (result["y"].tolist(), result["n"]) == ([15.0] * 3, (2, None))


def test_what_is_read_may_change_at_any_time():
    """Closure, global entry, attribute, contents, a captured array written to, bound anew, deleted."""
    box, rate, data = SimpleNamespace(scale=2.0, extra={"n": 1.0}), 3.0, np.ones(2)

    def f(x):
        return x * box.scale * rate * box.extra["n"] + data

    g = fg.jit(f)
    changes = [
        lambda: None,
        lambda: setattr(box, "scale", 5.0),
        lambda: box.extra.update(n=7.0),
        lambda: data.fill(9.0),
        lambda: setattr(box, "extra", {"n": -1.0}),
        lambda: setattr(box, "scale", np.full(2, 3.0)),
        lambda: setattr(box, "scale", float("3.0")),
        lambda: setattr(box, "scale", -0.0),
        lambda: setattr(box, "scale", 0.0),
    ]
    for change in changes:
        change()
        for _ in range(CALLS):
            assert described(g(2.0)) == described(f(2.0))
        assert g._programs.entry is not no_entry
    rate, data = 4.0, np.zeros(2)
    assert described(g(2.0)) == described(f(2.0))
    del box.scale
    with pytest.raises(AttributeError):
        g(2.0)


def test_what_a_static_argument_reads_may_change():
    class Model:
        def __init__(self):
            self.w = 2.0

        def __call__(self, x):
            return self.w * x

    model = Model()
    g = entered(lambda model, x: model(x), model, 3.0)
    assert straight(g, model, 3.0) == 6.0
    model.w = 5.0
    assert left(g, model, 3.0)
    assert g(model, 3.0) == 15.0


def test_paths():
    f, runs = counting(lambda x, n: x * n if x > 0 else [x])
    g = entered(f, 2.0, 3.0)
    assert straight(g, 4.0, 3.0) == 12.0
    assert left(g, -4.0, 3.0)
    for _ in range(CALLS):
        assert g(-4.0, 3.0) == [-4.0]
    assert straight(g, -4.0, 3.0) == [-4.0]
    assert straight(g, 4.0, 3.0) == 12.0
    assert len(runs) == 2


def test_two_kinds_in_turn():
    f, runs = counting(lambda x: x * 2)
    g = fg.jit(f)
    for _ in range(CALLS):
        for x in (np.ones(2), np.ones(3)):
            assert g(x).tolist() == (x * 2).tolist()
    entries = set()
    for x in (np.ones(2), np.ones(3)):
        g(x)
        assert not left(g, x)
        entries.add(g._programs.entry)
    for x in (np.ones(2), np.ones(3)):
        g(x)
        entries.add(g._programs.entry)
    assert (len(entries), len(runs)) == (2, 2)


def test_a_program_with_an_entry_is_not_the_least_recently_used(monkeypatch):
    monkeypatch.setattr(programs_module, "MAX_PROGRAMS", 4)
    f, runs = counting(lambda x: x * 2)
    g = fg.jit(f)
    first, *others = [np.ones(n) for n in range(1, 5)]
    for x in others:
        g(x)
    entered(g, first)
    for x in others:
        assert not left(g, first)
        g(x)
    g(np.ones(9))
    assert len(runs) == 5
    g(first)
    assert len(runs) == 5


def test_an_entry_is_written_anew_when_less_is_watched():
    """A new kind of arguments meets an array of which another kind then shows that it is captured."""
    data = np.ones(2)
    f, runs = counting(lambda x: x * data)
    g = fg.jit(f)
    g(2.0)
    data[:] = 3.0
    entered(g, np.ones(2))
    g(2.0)
    data[:] = 4.0
    for _ in range(2):
        assert g(np.ones(2)).tolist() == [4.0, 4.0]
    assert not left(g, np.ones(2))
    assert len(runs) == 3


def test_captured_arrays_of_another_layout():
    data = np.arange(6.0)
    g = entered(lambda x: x * data, 2.0)
    for strided in (True, False):
        data.shape = (6,)
        data[:] = 3.0 if strided else 4.0
        assert g(2.0).tolist() == (2.0 * data).tolist()


def test_entries_hold_nothing_that_is_gone():
    data = np.ones(3)
    gone = weakref.ref(data)
    g = entered(lambda x: x * data, 2.0)
    data = np.zeros(3)
    assert g(2.0).tolist() == [0.0] * 3
    gc.collect()
    assert gone() is None
    held = weakref.ref(g)
    del g
    gc.collect()
    assert held() is None


def test_entries_of_outdated_programs_are_dropped():
    model = Thing()
    model.w = np.ones(3)
    g = entered(lambda model, x: model.w * x, model, 2.0)
    gone = weakref.ref(model.w)
    model.w = np.zeros(3)
    assert g(model, 2.0).tolist() == [0.0] * 3
    gc.collect()
    assert gone() is None


def test_jitted_functions_are_collected():
    g = entered(lambda x: x * 2, 2.0)
    held = weakref.ref(g)
    del g
    gc.collect()
    assert held() is None


# --- failures ------------------------------------------------------------------------------------


def test_failures_are_told_like_those_of_the_general_way():
    def divided(x, y):
        return x / y

    g = entered(divided, np.ones(2), np.ones(2))
    with np.errstate(all="raise"):
        with pytest.raises(FloatingPointError) as straight_error:
            g(np.ones(2), np.zeros(2))
        with pytest.raises(FloatingPointError) as error:
            g._call(g._programs, (np.ones(2), np.zeros(2)), {})
        assert str(straight_error.value) == str(error.value)
        assert "return x / y" in "".join(straight_error.value.__notes__)
    assert straight(g, np.ones(2), np.ones(2)).tolist() == [1.0, 1.0]


def test_integers_that_are_too_large():
    g = entered(lambda n: n * 2, 3)
    assert left(g, 2**70)
    with pytest.raises(OverflowError):
        g(2**70)
    assert straight(g, 4) == 8


def test_an_interrupt_leaves_the_entry_as_it_is():
    class Interrupting:
        def __init__(self, x):
            self.x = x

    raised = [False]

    def taken_apart(box):
        if raised[0]:
            raise KeyboardInterrupt
        return (box.x,), None

    fg.tree.register(Interrupting, taken_apart, lambda aux, children: Interrupting(*children))
    g = entered(lambda box: box.x * 2, Interrupting(2.0))
    raised[0] = True
    with pytest.raises(KeyboardInterrupt):
        g(Interrupting(2.0))
    raised[0] = False
    assert straight(g, Interrupting(3.0)) == 6.0


def test_containers_that_fail_to_be_taken_apart_fail_on_the_general_way():
    class Broken:
        whole = True

    def taken_apart(broken):
        if not broken.whole:
            raise ZeroDivisionError("broken")
        return (1.0,), None

    fg.tree.register(Broken, taken_apart, lambda aux, children: Broken())
    broken = Broken()
    g = entered(lambda broken: 2.0, broken)
    broken.whole = False
    assert left(g, broken)
    with pytest.raises(ZeroDivisionError, match="broken"):
        g(broken)


def test_classes_that_fail_when_they_are_looked_at():
    class Meta(type):
        def __getattribute__(cls, name):
            if name == "__eq__" and armed:
                raise ZeroDivisionError
            return super().__getattribute__(name)

    class Odd(metaclass=Meta):
        pass

    armed, odd = [], Odd()
    g = fg.jit(lambda odd, x: x * 2)
    g(odd, 1.0)
    armed.append(1)
    for _ in range(CALLS):
        assert g(odd, 1.0) == 2.0


def test_settings_and_recordings_come_first():
    g = entered(lambda x: np.log(x), 2.0)
    with (
        fg.config(debug_nans=True),
        pytest.raises(fg.errors.NonFiniteError),
        np.errstate(all="ignore"),
    ):
        g(0.0)
    with np.errstate(all="ignore"):
        assert g(0.0) == -np.inf


def test_many_threads():
    """While one of them binds what is read, none sees anything but one of the values."""
    box = {"rate": 1.0}
    g = fg.jit(lambda x: x * box["rate"])
    wrong, stop = [], threading.Event()

    def call():
        while not stop.is_set():
            for x in (1.0, np.ones(2)):
                result = g(x)
                if not set(np.ravel(result).tolist()) <= {1.0, 2.0}:
                    wrong.append(result)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(200):
        box["rate"] = 1.0 + i % 2
    stop.set()
    for thread in threads:
        thread.join()
    box["rate"] = 3.0
    assert g(2.0) == 6.0
    assert wrong == []


def test_very_many_leaves_have_no_entry():
    many = [1.0] * (entry_module.MOST + 1)
    g = fg.jit(lambda many: many[0] + many[-1])
    for _ in range(CALLS):
        assert g(many) == 2.0
    assert g._programs.entry is no_entry


def test_deep_trees():
    deep = 1.0
    for _ in range(300):
        deep = (deep,)
    g = entered(lambda deep: fg.tree.map(lambda x: x * 2, deep), deep)
    result = straight(g, deep)
    for _ in range(300):
        (result,) = result
    assert result == 2.0
