"""Graphs and nodes: interned, immutable, of any depth, and gone when nobody needs them."""

import contextlib
import copy
import gc
import pickle
import threading
import time
import weakref
from importlib import import_module

import attrs
import numpy as np
import pytest

import fungrad as fg
from fungrad._aval import make_aval
from fungrad._expr import bits_key, make_input, make_literal, node_key
from fungrad._gradient import gradient
from fungrad._graph import make_graph, substitute, topological
from fungrad._primitive import registry
from fungrad._simplify import simplify

graph_module = import_module("fungrad._graph")
expr_module = import_module("fungrad._expr")


def build(name, *args, **static):
    """A node of the primitive called ``name``."""
    primitive, pairs = registry()[name], tuple(static.items())
    key = node_key(primitive, args, pairs, False)
    return expr_module.find_node(key) or primitive.build(key, args, pairs, False)


def chain(depth, aval=None):
    """The graph of ``sin(sin(… x))``."""
    aval = aval or make_aval((), np.dtype(np.float64))
    node = make_input(0, aval)
    for _ in range(depth):
        node = build("sin", node)
    return make_graph([aval], [node])


# --- interning ---------------------------------------------------------------------------------


def test_tracing_twice_gives_the_identical_graph():
    def f(p, x):
        h = np.tanh(x @ p["w"] + p["b"])
        return np.sum(h[::2, None] ** 2) + np.mean(h) * 3

    args = {"w": np.ones((3, 4)), "b": np.zeros(4)}, np.ones((5, 3))
    first = fg.trace(f, *args)
    again = fg.trace(lambda p, x: f(p, x), {k: v + 1 for k, v in args[0].items()}, 2 * args[1])
    assert again is first
    assert fg.trace(fg.grad(f), *args) is fg.trace(fg.grad(f), *args)
    assert fg.trace(f, args[0], np.ones((6, 3))) is not first
    assert fg.trace(f, args[0], np.ones((5, 3), np.float32)) is not first


def test_a_node_that_holds_a_graph_dies_with_what_derives_from_it():
    body = chain(2)
    x, sin = make_input(0, body.inputs[0].aval), registry()["sin"]
    static = (("body", body), ("nested", (body, 1)))
    node = expr_module.add_node(node_key(sin, (x,), static, False), sin, (x,), static, x.aval)
    assert expr_module.find_node(node_key(sin, (x,), static, False)) is node
    derived = make_graph([x.aval], [node])
    body.memo("derived", [derived].pop)
    forgotten = weakref.ref(node)
    graph_module._kept.clear()
    graph_module._kept_nodes = 0
    del body, node, static, derived
    gc.collect()
    assert forgotten() is None


def test_equal_expressions_are_one_node():
    graph = fg.trace(lambda x: (np.sin(x) * np.sin(x), np.sin(x)), 1.0)
    assert len(graph.nodes) == 2
    product, sine = graph.outputs
    assert product.args == (sine, sine)


@pytest.mark.parametrize(
    "numbers",
    [
        (0.0, -0.0, 0, False, 0j), (1, 1.0, True, 1 + 0j), (complex(0, 0.0), complex(0, -0.0)),
        (2, 2.0), (float("nan"), float("inf"), float("-inf")), (1, (1,)), (slice(1), slice(1.0)),
        ((1,), (1.0,), (True,)), (((0.0,),), ((-0.0,),)), ("1", 1), (None, 0),
    ],
    ids=repr,
)  # fmt: skip
def test_what_python_merges_stays_apart(numbers):
    keys = [bits_key(number) for number in numbers]
    assert len(set(keys)) == len(keys)
    assert keys == [bits_key(number) for number in numbers]


def test_literals_are_told_apart_by_type_and_bits():
    apart = [0.0, -0.0, 0, False, 1, 1.0, True, 1 + 0j, float("nan"), float("inf")]
    nodes = [make_literal(value) for value in apart]
    assert len({id(node) for node in nodes}) == len(apart)
    assert [make_literal(value) for value in apart] == nodes
    assert [type(node.value) for node in nodes] == [type(value) for value in apart]
    x = np.array([-0.0, 1.0])
    plus, minus = fg.jit(lambda x: x + 0.0), fg.jit(lambda x: x + -0.0)
    for _ in range(3):
        assert np.signbit(plus(x)).tolist() == [False, False]
        assert np.signbit(minus(x)).tolist() == [True, False]
        assert fg.jit(lambda x: x * 1)(np.int8(3)).dtype == np.int8
        assert fg.jit(lambda x: x * 1.0)(np.int8(3)).dtype == np.float64
        assert fg.jit(lambda x: x * True)(np.array([True])).dtype == np.bool_
        assert fg.jit(lambda x: x * 1)(np.array([True])).dtype == np.int64


def test_nan_equals_itself():
    assert fg.trace(lambda x: x * np.nan, 1.0) is fg.trace(lambda x: x * float("nan"), 1.0)


def test_threads_intern_the_same_objects():
    count, results = 16, [None] * 16
    barrier = threading.Barrier(count)

    def f(x):
        for i in range(300):
            x = np.sin(x) * 1.5 + i
        return x

    def work(i):
        barrier.wait()
        results[i] = [fg.trace(f, np.ones(n)) for n in range(1, 6)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(result is not None for result in results)
    for column in zip(*results, strict=True):
        assert len({id(graph) for graph in column}) == 1


def test_threads_that_drop_and_rebuild():
    """Nodes die in one thread while another asks for them."""
    failures = []

    def work(seed):
        for i in range(60):
            graph = fg.trace(lambda x, i=i: np.sum(np.cos(x * (i % 7)) + seed % 2), np.ones(3))
            again = fg.trace(lambda x, i=i: np.sum(np.cos(x * (i % 7)) + seed % 2), np.ones(3))
            if graph is not again:
                failures.append((seed, i))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# --- immutability ------------------------------------------------------------------------------


def test_nodes_and_graphs_are_frozen():
    graph = fg.trace(lambda x: np.sin(x) + 1, 1.0)
    for thing, attribute in (
        (graph, "outputs"),
        (graph.nodes[0], "args"),
        (graph.inputs[0], "index"),
    ):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(thing, attribute, ())
        if thing is not graph:
            for leave in (pickle.dumps, copy.copy, copy.deepcopy):
                with pytest.raises(TypeError, match="pickled or copied"):
                    leave(thing)
        assert thing == thing  # by identity
        assert thing != fg.trace(lambda x: np.cos(x), 1.0)
        hash(thing)


def test_avals_survive_pickling_as_the_same_object():
    aval = make_aval((2, 3), np.dtype(np.float32))
    assert pickle.loads(pickle.dumps(aval)) is aval
    assert copy.deepcopy(aval) is aval


# --- text --------------------------------------------------------------------------------------


def test_listing():
    def f(p, x):
        return np.mean((x @ p["w"] - 1.5) ** 2), p["b"]

    graph = fg.trace(f, {"w": np.ones((3, 2), np.float32), "b": 2.0}, np.ones((4, 3), np.float32))
    assert str(graph) == (
        "graph(a: float64*[], b: float32[3,2], c: float32[4,3]):\n"
        "    d = matmul(c, b)                     # float32[4,2]\n"
        "    e = subtract(d, 1.5)                 # float32[4,2]\n"
        "    f = square(e)                        # float32[4,2]\n"
        "    g = sum[axis=(0, 1), dtype=None](f)  # float32[]\n"
        "    h = divide(g, 8)                     # float32[]\n"
        "    return h, a"
    )
    assert repr(graph) == "<Graph: 3 inputs, 5 operations>"


def test_listing_of_many_nodes_has_distinct_names():
    def f(x):
        for i in range(800):
            x = np.sin(x) + i
        return x

    names = [line.split()[0] for line in str(fg.trace(f, 1.0)).splitlines()[1:-1]]
    assert len(names) == 1600 == len(set(names))
    assert names[:25] == [chr(98 + i) for i in range(25)]
    assert names[25] == "aa"


# --- size --------------------------------------------------------------------------------------


def test_a_million_nodes_in_one_chain():
    """Built, traversed, substituted into, simplified and freed, without recursion."""
    depth, before = 1_000_000, len(expr_module._exprs)
    start = time.process_time()
    graph = chain(depth)
    assert len(graph.nodes) == depth
    assert topological(graph.outputs)[0].args == graph.inputs
    (again,) = substitute(graph, graph.inputs)
    assert again is graph.outputs[0]
    watch = weakref.ref(graph.nodes[depth // 2])
    del graph, again
    gc.collect()
    assert watch() is None
    assert len(expr_module._exprs) < before + 1000
    assert time.process_time() - start < 40


def test_derivative_of_a_deep_chain():
    depth = 50_000
    graph = chain(depth)
    derived = simplify(gradient(graph, (0,), True))
    assert len(derived.nodes) >= 2 * depth
    text = str(graph)
    assert text.count("\n") == depth + 1
    watch = weakref.ref(derived)
    del graph, derived
    graph_module._kept.clear()
    graph_module._kept_nodes = 0
    gc.collect()
    assert watch() is None


def test_sharing_is_kept_by_every_rewrite():
    """2⁶⁰ paths, 60 nodes."""

    def f(x):
        for _ in range(60):
            x = x + x
        return x

    start = time.process_time()
    graph = fg.trace(f, 1.0)
    assert len(graph.nodes) == 60
    assert len(simplify(graph).nodes) == 60
    assert len(fg.trace(fg.grad(f), 1.0).nodes) < 200
    assert len(fg.trace(lambda x: fg.vmap(f)(x), np.ones(2)).nodes) < 200
    assert time.process_time() - start < 5


# --- memory ------------------------------------------------------------------------------------


def test_a_traced_graph_dies_with_its_last_user():
    graph = fg.trace(lambda x: np.sin(x) * 123.456, np.ones(17))
    watches = [weakref.ref(graph), weakref.ref(graph.nodes[-1])]
    del graph
    gc.collect()
    assert [watch() for watch in watches] == [None, None]


def test_arrays_are_not_kept():
    def watched(n):
        # Plain arrays have no weak references; memory maps do, and are computed with all the same.
        array = np.memmap.__new__(np.memmap, "/dev/zero", np.float64, "c", shape=(n,))
        return array, weakref.ref(array)

    def jitted():
        constant, of_constant = watched(1000)
        return fg.jit(lambda x: np.sum(x * constant)), of_constant

    f, of_constant = jitted()
    argument, of_argument = watched(1000)
    for _ in range(3):
        fg.grad(f)(argument)
        f(argument)
        fg.vmap(lambda x: x * 2.0)(argument)
    del argument
    gc.collect()
    assert of_argument() is None
    assert of_constant() is not None
    del f
    gc.collect()
    assert of_constant() is None


def test_a_pullback_dies_with_its_values():
    x = np.ones(1000)
    _, pull = fg.vjp(lambda x: np.exp(x) * 2.0, x)
    watch = weakref.ref(pull)
    del pull
    gc.collect()
    assert watch() is None


def test_recent_graphs_are_kept_in_bounded_number():
    grad = lambda c: fg.grad(lambda x: np.sin(x) * c + np.cos(x * c))(1.0)
    for i in range(graph_module._MAX_KEPT_GRAPHS + 50):
        grad(i + 0.5)
    assert len(graph_module._kept) <= graph_module._MAX_KEPT_GRAPHS
    nodes = sum(len(graph.nodes) for graph in graph_module._kept.values())
    assert nodes == graph_module._kept_nodes <= graph_module._MAX_KEPT_NODES
    gc.collect()
    before = len(expr_module._exprs)
    for i in range(200):
        grad(i - 1000.25)
    gc.collect()
    assert len(expr_module._exprs) < before + 2000


def test_the_second_gradient_finds_its_program():
    """Un-jitted, nothing but tracing is repeated."""
    f = lambda x: np.sum(np.tanh(x) ** 2 * 0.123)
    fg.grad(f)(np.ones(3))
    graph = fg.trace(f, np.ones(3))
    assert gradient(graph, (0,), False) is gradient(graph, (0,), False)
    kept = len(graph_module._kept)
    for _ in range(5):
        fg.grad(f)(np.ones(3))
    assert len(graph_module._kept) == kept


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_garbage_is_collected_after_deriving_as_before(enabled, error):
    graph = fg.trace(lambda x: np.sin(x) * 0.771, 1.0)

    def derive():
        assert not gc.isenabled()
        if error is not None:
            raise error

    try:
        gc.enable() if enabled else gc.disable()
        with contextlib.suppress(ValueError, KeyboardInterrupt):
            graph.memo(("test", enabled, error), derive)
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


def test_garbage_is_collected_although_threads_derive_at_once(monkeypatch):
    """One asks while another derives, which is done before the first one goes on."""
    monkeypatch.setattr(graph_module.gc, "isenabled", lambda: False)
    graph_module.undisturbed(lambda: None)
    monkeypatch.undo()
    assert gc.isenabled()


def test_graphs_longer_than_what_is_kept_are_found_again(monkeypatch):
    monkeypatch.setattr(graph_module, "_MAX_KEPT_NODES", 10)

    def f(x):
        for _ in range(20):
            x = np.sin(x) * 0.7713
        return x

    slopes = [fg.grad(f)(0.5) for _ in range(2)]  # interpreted, then compiled
    monkeypatch.setattr(graph_module.Graph, "memo", _only_known)
    assert [fg.grad(f)(0.5)] * 2 == slopes


def _only_known(self, key, derive):
    return self._memo[key]
