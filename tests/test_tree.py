"""Pytrees: what goes in comes out, in the same types, and in an order that nothing else decides."""

import copy
import dataclasses
import functools
import os
import pickle
import subprocess
import sys
import threading
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import attrs
import numpy as np
import pyrsistent as pyr
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fungrad as fg
from fungrad import _containers, _tree, tree
from fungrad._tree import LEAF, flatten, unflatten
from fungrad.errors import FungradError, TreeMismatchError

STATIC = {"static": True}
Point = namedtuple("Point", "x y")


class Pair(NamedTuple):
    left: Any
    right: Any = None


@attrs.frozen
class Layer:
    weight: Any = attrs.field(validator=attrs.validators.instance_of((float, np.ndarray)))
    bias: Any = attrs.field(converter=float)
    size: Any = attrs.field(default=3, metadata=STATIC)


@attrs.define(slots=False)
class Loose:
    a: Any
    _private: Any = None


@attrs.frozen
class SubLayer(Layer):
    scale: Any = attrs.field(default=1.0, init=False)


@dataclasses.dataclass
class Data:
    shared: ClassVar[int] = 7
    start: dataclasses.InitVar[float]
    a: Any
    mode: Any = dataclasses.field(default="relu", metadata=STATIC)
    b: Any = dataclasses.field(init=False, default=None)

    def __post_init__(self, start):
        if not isinstance(self.a, float):
            raise TypeError("a must be a float")
        self.b = start


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    a: Any
    b: Any = None


class Record(pyr.PRecord):
    w = pyr.field(type=float, mandatory=True, invariant=lambda x: (x > 0, "positive"))
    b = pyr.field(factory=float)
    steps = pyr.pvector_field(float)


class Positive(pyr.CheckedPMap):
    __key_type__ = str
    __value_type__ = float
    __invariant__ = lambda key, value: (value > 0, "positive")


class Floats(pyr.CheckedPVector):
    __type__ = float


class Box:
    def __init__(self, *content, label=None):
        self.content, self.label = content, label


tree.register(Box, lambda x: (x.content, x.label), lambda aux, c: Box(*c, label=aux))


class Opaque:
    """A leaf that no validator, converter or invariant lets pass, as a tracer is."""

    __hash__ = None

    def __bool__(self):
        raise AssertionError("asked for its truth")

    __eq__ = __float__ = __len__ = __iter__ = __bool__


def bare(cls, **fields):
    """An instance made without ``__init__``."""
    made = object.__new__(cls)
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made


def same(a, b):
    """Equal types all the way down, and identical leaves."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Mapping):
        assert not isinstance(a, OrderedDict) or list(a) == list(b)
        assert not isinstance(a, defaultdict) or a.default_factory is b.default_factory
        spelt = {key: repr(key) for key in a}
        return spelt == {key: repr(key) for key in b} and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple, pyr.PVector, pyr.CheckedPVector)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Box):
        return a.label == b.label and same(a.content, b.content)
    if attrs.has(type(a)) or dataclasses.is_dataclass(a):
        fields = attrs.fields(type(a)) if attrs.has(type(a)) else dataclasses.fields(a)
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields)
    return a is b


keys = (
    st.text(max_size=3)
    | st.integers(-2, 2)
    | st.booleans()
    | st.none()
    | st.sampled_from(
        [1.5, -0.0, b"a", (1,), (True,), (0.0, "a"), frozenset({"a"}), frozenset({"b", "c"})]
    )
)


def containers(inner):
    dicts = st.dictionaries(keys, inner, max_size=4)
    lists = st.lists(inner, max_size=4)
    names = st.dictionaries(st.text(max_size=2), inner, max_size=3)
    one = inner
    return st.one_of(
        dicts,
        lists,
        lists.map(tuple),
        lists.map(pyr.pvector),
        dicts.map(pyr.pmap),
        dicts.map(OrderedDict),
        dicts.map(lambda x: defaultdict(list, x)),
        names.map(lambda x: defaultdict(None, x)),
        st.builds(Point, one, one),
        st.builds(Pair, one, one),
        st.builds(lambda a, b: Loose(a, b), one, one),
        st.builds(Slotted, one, one),
        st.builds(Box, one, one, label=st.sampled_from([None, 1, True, (1, "a")])),
        st.builds(
            lambda w, b, s: bare(Layer, weight=w, bias=b, size=s), one, one, st.integers(0, 2)
        ),
        st.builds(lambda a, b: bare(Data, a=a, b=b, mode="tanh"), one, one),
        st.builds(
            lambda w, b: _containers._derive(Record).unflatten((("b", "w"), None, None), [b, w]),
            one,
            one,
        ),
    )


leaves = st.floats() | st.integers() | st.text(max_size=3) | st.builds(object) | st.builds(Opaque)
trees = st.recursive(leaves | st.none(), containers, max_leaves=15)


# Laws.


@given(trees)
def test_unflatten_inverts_flatten(x):
    found, treedef = flatten(x)
    assert same(treedef.unflatten(found), x)
    assert same(unflatten(treedef, iter(found)), x)
    assert treedef.num_leaves == len(found) == len(treedef.paths())
    assert len(set(treedef.paths())) == len(found)


@given(trees)
def test_structures_are_interned(x):
    found, treedef = flatten(x)
    again = flatten(treedef.unflatten([object() for _ in found]))[1]
    assert again is treedef
    assert hash(again) == hash(treedef)
    assert repr(treedef).startswith("TreeDef(")


@dataclasses.dataclass(frozen=True)
class _Applied:
    """What an unknown function would return."""

    function: str
    leaf: Any


_containers.kinds[_Applied] = None  # a leaf here


@given(trees)
def test_map_laws(x):
    f, g = functools.partial(_Applied, "f"), functools.partial(_Applied, "g")

    def chains(mapped):
        return [(outer.function, outer.leaf.function, id(outer.leaf.leaf)) for outer in mapped]

    assert same(tree.map(lambda leaf: leaf, x), x)
    twice, composed = tree.map(f, tree.map(g, x)), tree.map(lambda leaf: f(g(leaf)), x)
    assert tree.structure(twice) is tree.structure(composed) is tree.structure(x)
    assert chains(tree.leaves(twice)) == chains(tree.leaves(composed))
    assert chains(tree.leaves(twice)) == [("f", "g", id(leaf)) for leaf in tree.leaves(x)]


@given(trees)
def test_map_over_several(x):
    pairs = tree.map(lambda a, b, c: _Applied("", (a, b, c)), x, x, x)
    for pair, leaf in zip(tree.leaves(pairs), tree.leaves(x), strict=True):
        assert all(part is leaf for part in pair.leaf)


@given(st.dictionaries(keys, st.builds(object), max_size=6), st.randoms())
def test_insertion_order_does_not_matter(x, random):
    items = list(x.items())
    random.shuffle(items)
    for make in (dict, pyr.pmap, lambda d: defaultdict(list, d)):
        shuffled = make(dict(items))
        one, other = flatten(make(x)), flatten(shuffled)
        assert one[1].plain is other[1].plain
        assert [id(leaf) for leaf in one[0]] == [id(leaf) for leaf in other[0]]


# The containers, one by one.


def test_leaves_and_paths_of_each_container():
    layer = bare(Layer, weight=1, bias=(2, None), size=5)
    data = Data(start=4.0, a=3.0)
    cases = [
        (7, [7], [""], "*"),
        (None, [], [], "None"),
        ((), [], [], "()"),
        ((1,), [1], ["[0]"], "(*,)"),
        ([1, (2, None)], [1, 2], ["[0]", "[1][0]"], "[*, (*, None)]"),
        ({}, [], [], "{}"),
        ({"b": 1, "a": [2]}, [2, 1], ["['a'][0]", "['b']"], "{'a': [*], 'b': *}"),
        ({2: 1, 10: 2}, [1, 2], ["[2]", "[10]"], "{2: *, 10: *}"),
        (OrderedDict(a=1), [1], ["['a']"], "OrderedDict({'a': *})"),
        (
            OrderedDict(b=1, a=2),
            [2, 1],
            ["['a']", "['b']"],
            "OrderedDict({'a': *, 'b': *, in the order ('b', 'a')})",
        ),
        (
            defaultdict(list, a=1),
            [1],
            ["['a']"],
            "defaultdict({'a': *, default_factory=<class 'list'>})",
        ),
        (Point(1, 2), [1, 2], [".x", ".y"], "Point(x=*, y=*)"),
        (layer, [1, 2], [".weight", ".bias[0]"], "Layer(weight=*, bias=(*, None), size=5)"),
        (data, [3.0, 4.0], [".a", ".b"], "Data(a=*, b=*, mode='relu')"),
        (Loose(1, 2), [1, 2], [".a", "._private"], "Loose(a=*, _private=*)"),
        (Slotted(1), [1], [".a"], "Slotted(a=*, b=None)"),
        (pyr.m(b=1, a=2), [2, 1], ["['a']", "['b']"], "pmap({'a': *, 'b': *})"),
        (pyr.v(1, 2), [1, 2], ["[0]", "[1]"], "pvector([*, *])"),
        (pyr.pvector([]), [], [], "pvector([])"),
        (Record(w=2.0, b=1), [1.0, 2.0], [".b", ".w"], "Record(b=*, steps=FloatPVector([]), w=*)"),
        (Positive({"a": 1.0}), [1.0], ["['a']"], "Positive({'a': *})"),
        (Floats([1.0]), [1.0], ["[0]"], "Floats([*])"),
        (Box(1, [2], label="x"), [1, 2], ["[0]", "[1][0]"], "Box(*, [*], aux='x')"),
    ]
    for x, found, paths, shown in cases:
        treedef = tree.structure(x)
        assert tree.leaves(x) == found
        assert treedef.paths() == paths
        assert repr(treedef) == f"TreeDef({shown})"
        assert same(treedef.unflatten(tree.leaves(x)), x)


def test_leaf():
    x = object()
    assert flatten(x) == ([x], LEAF)
    assert LEAF.unflatten([x]) is x
    assert LEAF.num_leaves == 1


@pytest.mark.parametrize("cls", [Layer, SubLayer, Loose, Data, Slotted])
def test_records_are_rebuilt_without_their_init(cls):
    names = [f.name for f in (attrs.fields(cls) if attrs.has(cls) else dataclasses.fields(cls))]
    x = bare(cls, **dict.fromkeys(names, 1.0))
    opaque = Opaque()
    y = tree.map(lambda _: opaque, x)
    assert type(y) is cls
    assert all(getattr(y, name) is opaque for name in names if name not in ("size", "mode"))
    assert getattr(y, "size", 1.0) == getattr(y, "mode", 1.0) == 1.0


def test_record_fields_that_are_not_set():
    @attrs.define
    class Lazy:
        a: Any
        cache: Any = attrs.field(init=False)
        mode: Any = attrs.field(init=False, metadata=STATIC)

    x = Lazy(1)
    y = tree.map(lambda leaf: leaf + 1, x)
    assert y.a == 2
    assert not hasattr(y, "cache")
    assert not hasattr(y, "mode")
    assert tree.structure(y) is tree.structure(x)
    assert repr(tree.structure(x)) == "TreeDef(Lazy(a=*, cache=<absent>, mode=<absent>))"
    x.cache = None
    assert tree.structure(x) is not tree.structure(y)


@pytest.mark.parametrize("slots", [True, False])
def test_cached_hash_of_attrs(slots):
    cls = attrs.make_class(
        "Cached", ["x"], frozen=True, slots=slots, cache_hash=True, unsafe_hash=True
    )
    x = cls(1)
    hash(x)
    y = tree.map(lambda leaf: leaf + 1, x)
    assert hash(y) == hash(cls(2)) != hash(x)


def test_subclasses_of_records():
    class Plain(Loose):
        def double(self):
            return self.a * 2

    T = TypeVar("T")

    @dataclasses.dataclass
    class Typed(Generic[T]):
        a: T

    class New(Slotted):
        def __new__(cls, *args):
            raise AssertionError("called")

    assert tree.map(lambda leaf: leaf + 1, Plain(1, 2)).double() == 4
    assert tree.map(lambda leaf: leaf + 1, Typed[int](1)) == Typed(2)
    assert tree.map(lambda leaf: leaf + 1, bare(New, a=1, b=None)).a == 2


def test_a_namedtuple_with_a_constructor_of_its_own():
    class Checked(Point):
        def __new__(cls, x):
            return super().__new__(cls, float(x), float(x))

    x, opaque = Checked(1), Opaque()
    y = tree.map(lambda _: opaque, x)
    assert type(y) is Checked
    assert y.x is y.y is opaque


@pytest.mark.parametrize("x", [Record(w=1.0, b=2.0), Positive({"a": 1.0}), Floats([1.0])])
def test_pyrsistent_checks_are_bypassed(x):
    opaque = Opaque()
    y = tree.map(lambda _: opaque, x)
    assert type(y) is type(x)
    assert all(leaf is opaque for leaf in tree.leaves(y))
    z = tree.map(lambda _: 3.0, y)
    assert z == tree.map(lambda _: 3.0, x)
    with pytest.raises(
        (pyr.InvariantException, TypeError, ValueError)
    ):  # the checks are still there
        z.set(0 if isinstance(z, Floats) else next(iter(z)), "no")


def test_records_of_pyrsistent_nest():
    x = Record(w=1.0, steps=[2.0, 3.0])
    y = tree.map(lambda leaf: leaf + 1, x)
    assert y == Record(w=2.0, steps=[3.0, 4.0])
    assert type(y.steps) is type(x.steps)
    assert y.set(w=5.0) == Record(w=5.0, steps=[3.0, 4.0])
    with pytest.raises(pyr.InvariantException):
        y.set(w=-1.0)


def test_unknown_subclasses_are_leaves():
    class MyDict(dict):
        pass

    class MyList(list):
        pass

    class MyTuple(tuple):
        __slots__ = ()

    class MyMap(type(pyr.m())):
        pass

    @attrs.define
    class Failure(Exception):
        code: int

    @dataclasses.dataclass
    class Grown(dict):
        a: int

    @dataclasses.dataclass(frozen=True)
    class Coordinates:
        x: int

    class Place(Coordinates, Enum):
        HERE = 1

    mine = [
        MyDict(a=1),
        MyList([1]),
        MyTuple([1]),
        pyr.PMap.__new__(MyMap, 0, pyr.m()._buckets),
        Counter("a"),
        Failure(1),
        Grown(1),
        Place.HERE,
        pyr.s(1),
        Layer,
        np.ones(2),
        np.matrix,
        "text",
        len,
    ]
    for x in mine:
        found, treedef = flatten(x)
        assert treedef is LEAF
        assert found[0] is x


# Structure: what counts and what does not.


def test_keys_that_python_merges_stay_apart():
    spellings = [
        1,
        1.0,
        True,
        np.float64(1.0),
        np.int64(1),
        (1,),
        (True,),
        (1.0,),
        0.0,
        -0.0,
        False,
        "a",
    ]
    spellings += [np.str_("a"), frozenset({1}), frozenset({True}), (frozenset({1.0}), 1)]
    seen = {}
    for _ in range(2):  # the second time from the caches
        for key in spellings:
            for make in (dict, OrderedDict, pyr.pmap):
                x = make({key: object()})
                found, treedef = flatten(x)
                (back,) = treedef.unflatten(found)
                assert repr(back) == repr(key)
                assert type(back) is type(key)
                assert seen.setdefault((make, repr(key)), treedef) is treedef
    assert len(set(seen.values())) == len(seen) == 3 * len(spellings)


def test_static_values_that_python_merges_stay_apart():
    for value in [
        1,
        True,
        1.0,
        0.0,
        -0.0,
        0,
        (0.0,),
        (-0.0,),
        (1, True),
        np.float32(0),
        1j,
        complex(-0.0, 1),
    ]:
        x = bare(Layer, weight=1.0, bias=1.0, size=value)
        assert repr(tree.map(lambda leaf: leaf, x).size) == repr(value)
    nans = [bare(Layer, weight=1.0, bias=1.0, size=float("nan")) for _ in range(2)]
    assert tree.structure(nans[0]) is tree.structure(nans[1])


def test_static_fields_are_structure():
    one, two = Layer(1.0, 2.0, size=3), Layer(1.0, 2.0, size=4)
    assert tree.structure(one) is not tree.structure(two)
    assert tree.structure(one) is tree.structure(Layer(5.0, 6.0, size=3))
    assert tree.leaves(one) == [1.0, 2.0]
    with pytest.raises(
        FungradError, match=r"static part \(size\) of .*Layer .*hashable.*\(\[1\],\)"
    ):
        flatten(Layer(1.0, 2.0, size=[1]))


def test_what_dicts_have_besides_their_items():
    assert tree.structure(defaultdict(list, a=1)) is not tree.structure(defaultdict(None, a=1))
    assert tree.structure({"a": 1}) is not tree.structure(OrderedDict(a=1))
    assert tree.structure(OrderedDict(a=1, b=2)) is not tree.structure(OrderedDict(b=2, a=1))
    grown = tree.map(lambda leaf: leaf, defaultdict(list, a=1))
    assert grown["new"] == []

    class Unhashable:
        __hash__ = None

        def __call__(self):
            return 0

    with pytest.raises(FungradError, match=r"defaultdict.*hashable"):
        flatten(defaultdict(Unhashable()))


def test_treedefs_travel():
    treedef = tree.structure({"a": [1, Point(2, None)], "b": Layer(1.0, 2.0)})
    assert pickle.loads(pickle.dumps(treedef)) is treedef
    assert copy.copy(treedef) is copy.deepcopy(treedef) is treedef
    assert pickle.loads(pickle.dumps(LEAF)) is LEAF
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        treedef.num_leaves = 3


def test_caches_do_not_grow_without_bound(monkeypatch):
    monkeypatch.setattr(_tree, "_recent", deque(maxlen=4))
    kept = tree.structure([Layer(1.0, 2.0)])
    before = len(_tree._treedefs)
    for size in range(2000):
        flatten([Layer(1.0, 2.0, size=size), {f"key{size}": 1}])
    assert len(_tree._treedefs) < before + 20
    _containers.kinds.clear()
    assert tree.structure([Layer(1.0, 2.0)]) is kept


def test_classes_do_not_accumulate():
    for _ in range(11_000):
        _containers.kinds[type("New", (), {})]
        assert len(_containers.kinds) <= 10_000
    assert tree.leaves([Box(1)]) == [1]


# Order.


def test_keys_without_an_order_of_their_own():
    sets = [frozenset("ab"), frozenset("cd"), frozenset("e")]
    assert tree.leaves({key: i for i, key in enumerate(sets)}) == [0, 1, 2]
    assert tree.leaves({key: i for i, key in reversed(list(enumerate(sets)))}) == [0, 1, 2]
    assert tree.leaves({frozenset("ab"): 2, frozenset("a"): 1, frozenset(): 0}) == [0, 1, 2]
    assert tree.leaves({"a": 3, 2: 1, 10: 0, None: 2}) == [2, 0, 1, 3]  # by class name, then repr
    assert tree.leaves({(1, "a"): 0, ("a", 1): 1}) == tree.leaves({("a", 1): 1, (1, "a"): 0})
    assert tree.leaves({float("nan"): 1, 2.0: 0}) == [0, 1]

    class Twin:
        def __repr__(self):
            return "Twin"

    with pytest.raises(FungradError, match=r"keys Twin and Twin .* cannot be put in order"):
        flatten({Twin(): 1, Twin(): 2})
    assert tree.leaves({Twin(): 1}) == [1]


def test_order_does_not_follow_the_hash_seed():
    program = """
import pyrsistent
from fungrad import tree
names = ["w", "bias", "alpha", "x1", "x2"]
sets = [frozenset(names[i:i + 3]) for i in range(3)]
keys = [*names, 3, 1.5, None, b"x", *sets, (sets[0], 1), (sets[1], "a")]
items = {key: i for i, key in enumerate(keys)}
texts = {name: name for name in names}
for x in (items, pyrsistent.pmap(items), texts, pyrsistent.pmap(texts)):
    leaves, treedef = tree.flatten(x)
    print(leaves, [path for path in treedef.paths() if "frozenset" not in path])
"""
    root = Path(__file__).resolve().parents[1]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(outputs) == 1
    assert outputs.pop().count("\n") == 4


# Registration.


def test_registration_errors():
    class Mine:
        pass

    tree.register(Mine, lambda x: ((), None), lambda aux, c: Mine())
    with pytest.raises(FungradError, match="Mine is a registered container already"):
        tree.register(Mine, lambda x: ((), None), lambda aux, c: Mine())
    with pytest.raises(FungradError, match="dict is a registered container already"):
        tree.register(dict, lambda x: ((), None), lambda aux, c: {})
    with pytest.raises(FungradError, match="Only a class can be registered, not 3"):
        tree.register(3, None, None)
    assert tree.leaves(Mine()) == []

    class Derived(Mine):
        pass

    assert tree.structure(Derived()) is LEAF


def test_registered_functions_are_checked():
    class Bad:
        def __init__(self, parts):
            self.parts = parts

    tree.register(Bad, lambda x: x.parts, lambda aux, c: Bad((c, aux)))
    with pytest.raises(FungradError, match=r"aux of .*Bad .*hashable, but is \[1\]"):
        flatten(Bad(((), [1])))
    with pytest.raises(
        FungradError, match=r"`flatten` of .*Bad must return \(children, aux\), not 3"
    ):
        flatten(Bad(3))
    assert tree.leaves(Bad(([1, 2], "x"))) == [1, 2]
    bad = Bad(None)
    bad.parts = ([bad], None)
    with pytest.raises(TreeMismatchError, match="contains itself"):
        flatten(bad)


def test_registering_after_first_use():
    @attrs.frozen
    class Late:
        a: Any
        b: Any

    before = tree.structure(Late(1, 2))
    tree.register(Late, lambda x: ((x.a,), x.b), lambda aux, c: Late(c[0], aux))
    assert tree.leaves(Late(1, 2)) == [1]
    assert tree.structure(Late(1, 2)) is not before
    assert before.unflatten([3, 4]) == Late(3, 4)

    class Thing:
        pass

    thing = Thing()
    assert tree.structure(thing) is LEAF
    tree.register(Thing, lambda x: ((), None), lambda aux, c: Thing())
    assert tree.leaves(thing) == []


def test_threads():
    """Registering, interning and emptying caches at once; every thread sees the same treedefs."""
    start = threading.Barrier(8)
    classes = [type(f"C{i}", (Box,), {}) for i in range(50)]

    def work(number):
        start.wait(timeout=30)
        outcomes, treedefs = [], []
        for i, cls in enumerate(classes):
            try:
                tree.register(
                    cls, lambda x: (x.content, x.label), lambda aux, c, cls=cls: cls(*c, label=aux)
                )
                outcomes.append(True)
            except FungradError:
                outcomes.append(False)
            x = cls({f"k{j}": j for j in range(i % 5)}, Layer(1.0, 2.0, size=i), label=i)
            found, treedef = flatten(x)
            treedefs.append(treedef)
            assert flatten(treedef.unflatten(found))[1] is treedef
            if number == 0:
                _containers.kinds.clear()
        return outcomes, treedefs

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(8)))
    for i in range(50):
        assert sum(outcomes[i] for outcomes, _ in results) == 1
        assert len({treedefs[i] for _, treedefs in results}) == 1


# Errors.


def message(expected, actual):
    with pytest.raises(TreeMismatchError) as caught:
        _tree.check_same_structure(
            tree.structure(expected), tree.structure(actual), "params", "grads"
        )
    assert isinstance(caught.value, ValueError)
    return caught.value.args[0].removeprefix("grads must have the structure of params, but ")


def test_messages_name_the_first_difference():
    def layers(x):
        return {"a": 1, "w1": [2, x]}

    assert message(layers({"b": 1, "c": 2}), layers({"c": 2})) == (
        "params['w1'][1] has the key 'b', and grads['w1'][1] has not."
    )
    assert message(layers({}), layers({1: 1, "x": 3})) == (
        "params['w1'][1] has not, and grads['w1'][1] has the key 'x'."
    )
    assert message(layers((1, 2)), layers((1, 2, 3))) == (
        "params['w1'][1] has length 2, and grads['w1'][1] has length 3."
    )
    assert message(layers((1, [2])), layers([1, [2]])) == (
        "params['w1'][1] is the tuple (*, ...), and grads['w1'][1] is the list [*, ...]."
    )
    assert message(layers(1), layers((1, 2))) == (
        "params['w1'][1] is a leaf, and grads['w1'][1] is the tuple (*, *)."
    )
    assert message(layers(None), layers(1)) == (
        "params['w1'][1] is None, and grads['w1'][1] is a leaf."
    )
    assert message(1, {}) == "params is a leaf, and grads is the dict {}."
    assert message({True: 1}, {1: 1}) == "params has not, and grads has the key 1."
    assert message(Layer(1.0, 2.0), Layer(1.0, 2.0, size=4)) == (
        f"params is the {__name__}.Layer Layer(weight=*, bias=*, size=3), "
        f"and grads is the {__name__}.Layer Layer(weight=*, bias=*, size=4)."
    )
    assert message([Point(1, 2)], [Pair(1, 2)]) == (
        f"params[0] is the {__name__}.Point Point(x=*, y=*), "
        f"and grads[0] is the {__name__}.Pair Pair(left=*, right=*)."
    )
    assert message(Point(1, [2]), Point(1, [2, 3])) == (
        "params.y has length 1, and grads.y has length 2."
    )
    assert message(Record(w=1.0), Record(w=1.0, b=2.0)) == (
        "params has not, and grads has the field b."
    )
    assert message(OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)).endswith(
        "OrderedDict({'a': *, 'b': *, in the order ('b', 'a')})."
    )
    many = message({str(i): i for i in range(1000)}, [1])
    assert len(many) < 200


def test_map_names_the_tree_that_differs():
    with pytest.raises(TreeMismatchError) as caught:
        tree.map(lambda *a: a, {"a": 1}, {"a": 2}, {"a": (1, 2)})
    assert caught.value.args[0] == (
        "trees[2] must have the structure of trees[0], but trees[0]['a'] is a leaf, "
        "and trees[2]['a'] is the tuple (*, *)."
    )


def test_same_structure_passes():
    _tree.check_same_structure(LEAF, LEAF, "a", "b")


def test_wrong_number_of_leaves():
    treedef = tree.structure({"a": (1, 2)})
    for wrong in ([], [1], [1, 2, 3]):
        with pytest.raises(TreeMismatchError) as caught:
            tree.unflatten(treedef, wrong)
        assert caught.value.args[0] == (
            f"A tree of 2 leaves cannot be built from {len(wrong)}: TreeDef({{'a': (*, *)}})"
        )


@given(trees, trees)
def test_any_two_structures_compare(x, y):
    one, other = tree.structure(x), tree.structure(y)
    if one is not other:
        with pytest.raises(TreeMismatchError, match="must have the structure of"):
            _tree.check_same_structure(one, other, "x", "y")


def nested(depth):
    x = 1.0
    for _ in range(depth):
        x = [x, None]
    return x


def test_depth():
    treedef = tree.structure(nested(300))
    assert treedef.num_leaves == 1
    assert treedef.paths() == ["[0]" * 300]
    assert "..." in repr(treedef)
    assert tree.leaves(treedef.unflatten([2.0])) == [2.0]
    assert "[0]" * 299 in message(nested(300), nested(299))
    limit = sys.getrecursionlimit()
    for more in (limit, 100_000):  # before and instead of a stack overflow
        sys.setrecursionlimit(more)
        try:
            for depth in (1001, 5000):
                with pytest.raises(TreeMismatchError, match="nested more than 1000 deep"):
                    flatten(nested(depth))
            assert more == limit or tree.leaves(tree.map(lambda leaf: 3.0, nested(400))) == [3.0]
        finally:
            sys.setrecursionlimit(limit)


def test_unflattening_on_a_full_stack():
    treedef = tree.structure(nested(300))

    def deep(levels):
        return deep(levels - 1) if levels else treedef.unflatten([1.0])

    frames, frame = 0, sys._getframe()
    while frame := frame.f_back:
        frames += 1
    with pytest.raises(TreeMismatchError, match="deeper than the call stack allows"):
        deep(sys.getrecursionlimit() - frames - 100)


@pytest.mark.parametrize("close", ["list", "dict", "record"])
def test_cycles(close):
    if close == "list":
        x = [1]
        x.append((x,))
    elif close == "dict":
        x = {"a": 1}
        x["self"] = x
    else:
        x = Loose(1)
        x.a = {"up": x}
    with pytest.raises(TreeMismatchError, match="contains itself"):
        tree.leaves(x)


def test_errors_of_the_function_pass_through():
    def deep(x):
        return deep(x)

    with pytest.raises(RecursionError):
        tree.map(deep, [1])
    with pytest.raises(ZeroDivisionError):
        tree.map(lambda x: 1 / x, [0])


# One vector.

SHAPES = st.sampled_from([(), (0,), (3,), (2, 2), (0, 3), (1, 1, 2)])
DTYPES = st.sampled_from(["?", "i1", "u1", "i4", "i8", "f4", "f8", "c8", "c16", ">f4"])
arrays = st.builds(lambda shape, dtype: np.full(shape, 1, dtype), SHAPES, DTYPES)


@given(st.recursive(arrays | arrays.map(lambda a: a.sum()), containers, max_leaves=6))
def test_ravel_inverts(x):
    vector, unravel = tree.ravel(x)
    found = tree.leaves(x)
    assert vector.dtype == (np.result_type(*found) if found else np.float64)
    assert vector.shape == (sum(np.size(leaf) for leaf in found),)
    back = unravel(vector)
    assert tree.structure(back) is tree.structure(x)
    for a, b in zip(found, tree.leaves(back), strict=True):
        assert type(a) is type(b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert np.array_equal(a, b)
        assert not np.shares_memory(a, vector)
        assert not np.shares_memory(b, vector)


def test_ravel_order():
    x = {"b": 7.0, "a": np.asfortranarray([[1, 2], [3, 4]]), "c": (np.float32(8), [None])}
    vector, unravel = tree.ravel(x)
    assert vector.tolist() == [1, 2, 3, 4, 7, 8]
    back = unravel(list(range(6)))
    assert repr(back["a"]) == repr(np.array([[0, 1], [2, 3]]))
    assert repr(back["b"]) == "np.float64(4.0)"
    assert repr(back["c"]) == "(np.float32(5.0), [None])"


@pytest.mark.parametrize(
    ("number", "beside", "vector_dtype", "comes_back"),
    [
        (1.5, [], "f8", "f8"),
        (3, [], "i8", "i8"),
        (True, [], "?", "?"),
        (2j, [], "c16", "c16"),
        (1.5, ["f4"], "f4", "f4"),  # float32 in, float32 out
        (1.5, ["c8"], "c8", "f4"),
        (1.5, ["i4"], "f8", "f8"),
        (3, ["f4"], "f4", "i8"),
        (3, ["i2"], "i2", "i2"),
        (3, ["u1"], "u1", "u1"),
        (True, ["f4"], "f4", "?"),
        (2j, ["f4"], "c8", "c8"),
    ],
)
def test_ravel_of_python_numbers(number, beside, vector_dtype, comes_back):
    vector, unravel = tree.ravel([number, *[np.ones(1, dtype) for dtype in beside]])
    back = unravel(vector)[0]
    assert vector.dtype == vector_dtype
    assert back.dtype == comes_back
    assert isinstance(back, np.generic)
    assert back == number


def test_ravel_of_nothing():
    for x in (None, [], {"a": ()}):
        vector, unravel = tree.ravel(x)
        assert vector.shape == (0,)
        assert vector.dtype == np.float64
        assert unravel(vector) == x


def test_ravel_does_not_wrap_integers():
    with pytest.raises(OverflowError):
        tree.ravel([300, np.ones(2, np.uint8)])


@pytest.mark.parametrize(
    "leaf",
    [
        "f4",
        np.float64,
        np.dtype("f4"),
        object(),
        2**70,
        np.array(["a"]),
        np.ma.ones(2),
        np.datetime64(1, "s"),
    ],
)
def test_ravel_refuses(leaf):
    with pytest.raises(FungradError, match=r"tree\['a'\]\[1\] is a "):
        tree.ravel({"a": [1.0, leaf]})


def test_unravel_refuses():
    _, unravel = tree.ravel({"w": np.ones((2, 2)), "b": 1.0})
    for shape in [(4,), (6,), (5, 1), ()]:
        with pytest.raises(TreeMismatchError) as caught:
            unravel(np.ones(shape))
        assert caught.value.args[0] == f"unravel takes a vector of shape (5,), not {shape}."
    with pytest.raises(
        FungradError, match="unravel takes real numbers for a tree of float64, not compl"
    ):
        unravel(np.ones(5) + 1j)


class Traced:
    """A stand-in for a tracer: no array, but it speaks NumPy's protocol."""

    def __init__(self, value):
        self.value = np.asarray(value)

    shape = property(lambda self: self.value.shape)
    dtype = property(lambda self: self.value.dtype)
    real = property(lambda self: Traced(self.value.real))

    def astype(self, dtype):
        return Traced(self.value.astype(dtype))

    def reshape(self, shape):
        return Traced(self.value.reshape(shape))

    def __getitem__(self, index):
        return Traced(self.value[index])

    def __array_function__(self, function, types, args, kwargs):
        def bare(x):
            return (
                x.value
                if isinstance(x, Traced)
                else list(map(bare, x))
                if isinstance(x, list)
                else x
            )

        result = function(*map(bare, args), **kwargs)
        return Traced(result) if isinstance(result, np.ndarray) else result

    def __array__(self, *args, **kwargs):
        raise AssertionError("left the trace")


def test_ravel_of_traced_values():
    x = {"a": Traced(np.ones((2, 2), "f4")), "b": np.zeros(1, "f4"), "c": 2.0, "d": Traced(3)}
    vector, unravel = tree.ravel(x)
    assert isinstance(vector, Traced)
    assert vector.value.tolist() == [1, 1, 1, 1, 0, 2, 3]
    back = unravel(vector)
    assert all(isinstance(leaf, Traced) for leaf in tree.leaves(back))
    assert [leaf.dtype for leaf in back.values()] == ["f4", "f4", "f8", "i8"]
    assert [leaf.shape for leaf in back.values()] == [(2, 2), (1,), (), ()]


def test_ravel_inside_transforms():
    params = {"w": np.ones((2, 2), "f4"), "b": 0.5}
    vector, unravel = tree.ravel(params)

    def weighed(vector):
        filled = unravel(vector)
        return np.sum(filled["w"]) * filled["b"]

    def squares(params):
        return np.sum(tree.ravel(params)[0] ** 2)

    for transform in (fg.grad, lambda f: fg.jit(fg.grad(f)), lambda f: fg.grad(fg.jit(f))):
        slope = transform(weighed)(vector)
        assert slope.dtype == np.float32
        assert slope.tolist() == [4.0, 0.5, 0.5, 0.5, 0.5]
        slopes = transform(squares)(params)
        assert slopes["b"] == 1.0
        assert slopes["w"].tolist() == [[2.0, 2.0], [2.0, 2.0]]

    def there_and_back(number):
        vector, unravel = tree.ravel({"w": np.ones((2, 2), "f4"), "b": number})
        filled = unravel(vector)
        return np.sum(filled["w"]) * filled["b"]

    # A traced Python number is as weak as the number.
    assert there_and_back(0.5).dtype == fg.jit(there_and_back)(0.5).dtype == np.float32
    assert weighed(vector).dtype == fg.jit(weighed)(vector).dtype == np.float32
    assert squares(params).dtype == fg.jit(squares)(params).dtype == np.float32
