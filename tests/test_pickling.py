"""What leaves the process comes back as it was: graphs, jitted functions, optimizers.

Reading a graph runs nothing but the one function that reads it, whatever the graph holds.
"""

import copy
import multiprocessing
import pickle
import pickletools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from numpy.testing import assert_array_equal

import fungrad as fg
from fungrad import _codec, _primitive
from fungrad._codec import FORMAT, decode, encode
from fungrad._graph import make_graph
from fungrad._primitive import registry
from fungrad.compile import run
from fungrad.errors import GraphFormatError
from fungrad.ops.elementwise import sin as sin_p
from tests import _pickled
from tests._checks import graph_of, same_bits
from tests._domains import all_rows
from tests.laws.programs import programs, share

ROWS = all_rows()
X = np.arange(6.0).reshape(2, 3)


def again(thing):
    return pickle.loads(pickle.dumps(thing))


def names_in(data):
    """The globals that unpickling would look up."""
    found, texts = set(), []
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name == "STACK_GLOBAL":
            found.add(".".join(texts[-2:]))
        elif opcode.name == "GLOBAL":
            found.add(argument.replace(" ", "."))
        elif isinstance(argument, str):
            texts.append(argument)
    return found


def holds_code(node):
    """Whether a node keeps functions of the user's: only where they are is there a graph."""
    name = node.primitive.name
    return name == "pure_callback" or (name == "custom_call" and "Deferred" in repr(node.static))


# --- graphs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ROWS))
def test_every_primitives_graph_comes_back_as_the_same_object(name):
    for case in ROWS[name].cases[:3]:
        graph, _ = graph_of(case.function, case.sample(0))
        if any(holds_code(node) for node in graph.nodes):
            with pytest.raises(GraphFormatError, match="can't be written as data"):
                pickle.dumps(graph)
            continue
        data = pickle.dumps(graph)
        assert pickle.loads(data) is graph
        assert names_in(data) == {"fungrad._codec.decode"}


@share(0.5)
@given(programs(scalar=True))
def test_random_programs_and_their_gradients_come_back(program):
    for f in (program, fg.grad(program)):
        graph = fg.trace(f, *program.inputs(0))
        assert again(graph) is graph


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol(protocol):
    graph = fg.trace(fg.grad(lambda x: np.sum(x[::2, 1:] ** 2)), X)
    assert pickle.loads(pickle.dumps(graph, protocol)) is graph


def test_literals_keep_their_bits():
    def f(x):
        return (x + 0.0, x + -0.0, x * 1, x * 1.0, x * True, x * np.nan, x * -np.inf, x * (1 - 0j))

    graph = fg.trace(f, X)
    assert again(graph) is graph
    assert len({id(out) for out in again(graph).outputs}) == 8


def test_a_graph_of_depth_100_000():
    node = start = fg.trace(np.sin, X).inputs[0]
    for _ in range(100_000):
        node = sin_p.node((node,), ())
    graph = make_graph([start.aval], [node])
    assert again(graph) is graph
    assert copy.deepcopy(graph) is graph


def test_copies_are_the_graph_itself():
    graph = fg.trace(np.sin, X)
    assert copy.copy(graph) is copy.deepcopy(graph) is graph
    assert copy.deepcopy({"graph": graph})["graph"] is graph


def test_a_graph_in_a_graph():
    """A static that is a graph, as loops have it."""
    inner = fg.trace(np.cos, 1.0)
    primitive = _primitive.primitive(
        "pickled_apply",
        value=lambda x, body: run(body, [x])[0],
        aval=lambda x, body: x,
        vjp=_primitive.Unwritten("a test"),
        batch=_primitive.Unwritten("a test"),
    )
    graph = fg.trace(lambda x: primitive(x, body=inner), 2.0)
    assert again(graph) is graph


def test_another_process_gives_the_same_bits(tmp_path):
    f = fg.value_and_grad(lambda w, x: np.mean(np.tanh(x @ w) ** 2) + np.sum(np.sort(w)))
    w, x = np.linspace(-1, 1, 3), X / 7
    graph = fg.trace(f, w, x)
    (tmp_path / "graph").write_bytes(pickle.dumps((graph, w, x)))
    code = (
        "import pickle, sys\n"
        "graph, w, x = pickle.load(open(sys.argv[1], 'rb'))\n"
        "from fungrad.compile import run\n"
        "pickle.dump([run(graph, [w, x]) for _ in range(3)], open(sys.argv[2], 'wb'))\n"
    )
    arguments = [sys.executable, "-c", code, tmp_path / "graph", tmp_path / "out"]
    subprocess.run(arguments, check=True, cwd=Path(__file__).parents[1])
    for got in pickle.loads((tmp_path / "out").read_bytes()):
        for a, b in zip(got, f(w, x), strict=True):
            same_bits(a, b, "other process")


# --- graphs that can't be read or written --------------------------------------------------------


def test_a_primitive_of_a_user_goes_by_name():
    graph = fg.trace(fg.grad(lambda x: _pickled.cube(x)), 2.0)
    assert again(graph) is graph
    data = pickle.dumps(fg.trace(_pickled.cube, 2.0))
    code = "import pickle, sys; pickle.loads(sys.stdin.buffer.read())"
    out = subprocess.run(
        [sys.executable, "-c", code],
        input=data,
        capture_output=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert out.returncode == 1
    assert (
        "GraphFormatError: the primitive 'pickled_cube' is not declared in this process; write: "
        "import the module that declares it, and then read the graph"
    ) in out.stderr.decode()


def test_a_primitive_that_changed_is_refused():
    version, inputs, rows, outputs = encode(fg.trace(np.sin, X))
    (name, args, static, weak, _), *_ = rows
    with pytest.raises(GraphFormatError, match=r"sin gives float64\[2,3\].*float32\[2,3\].*trace"):
        decode((version, inputs, ((name, args, static, weak, "float32[2,3]"),), outputs))


def test_another_format_is_refused():
    data = encode(fg.trace(np.sin, X))
    with pytest.raises(GraphFormatError, match="another format than 1"):
        decode((FORMAT + 1, *data[1:]))


def test_a_graph_with_a_function_in_it_is_refused():
    primitive = _primitive.primitive(
        "pickled_call",
        value=lambda x, f: f(x),
        aval=lambda x, f: x,
        vjp=_primitive.Unwritten("a test"),
        batch=_primitive.Unwritten("a test"),
    )
    graph = fg.trace(lambda x: primitive(x, f=len), 2.0)
    with pytest.raises(GraphFormatError) as info:
        pickle.dumps(graph)
    assert info.value.args[0] == (
        "a graph with pickled_call can't be written as data: it holds a value of type "
        "builtins.builtin_function_or_method; write: pickle the function instead, and trace it where "
        "it is needed"
    )


GOOD = encode(fg.trace(lambda x: np.sum(x[1:]) * 2.0, np.ones(3)))


def mutilated():
    """Variants of a good graph's data, each wrong in one place."""
    hostile = [
        None, -1, 10**9, 1.5, "os.system", b"x", (), ("graph",), ("graph", ()), ("tuple", "a"),
        ("marker", "__class__"), ("dtype", "O"), ("dtype", "nonsense"), ("number", "O", b"12345678"),
        ("complex", "1"), ("slice", 1),
        ("ufunc", "save"), ("ufunc", "__loader__"), ("__import__", "os"), [], {}, object(), np.ones(3), print,
    ]  # fmt: skip

    def replace(data, path, value):
        if not path:
            return value
        at, *rest = path
        return (*data[:at], replace(data[at], rest, value), *data[at + 1 :])

    def paths(data, path=()):
        yield path
        if isinstance(data, tuple):
            for i, item in enumerate(data):
                yield from paths(item, (*path, i))

    for path in paths(GOOD):
        for value in hostile:
            yield path, value, replace(GOOD, path, value)


def test_whatever_is_no_graph_is_refused_or_is_a_graph():
    graph, refused = decode(GOOD), 0
    for path, value, data in mutilated():
        try:
            other = decode(data)
        except GraphFormatError:
            refused += 1
        else:
            assert isinstance(other, type(graph)), (path, value)
            assert other is graph or encode(other) != GOOD, (path, value)
    print(f"\npickling: {refused} mutilated graphs refused")
    assert refused > 500


def test_reading_calls_nothing_that_the_data_names(monkeypatch):
    """Only shape rules run: neither values nor derivatives of any primitive, and no builtin."""
    graph = fg.trace(lambda x: np.linalg.inv(x) @ np.cos(x), np.eye(3))
    data = pickle.dumps(graph)

    def forbidden(*args, **kwargs):
        raise AssertionError("called")

    for name in ("inv", "matmul"):
        for field in ("value", "vjp", "batch"):
            record = registry()[name]
            before = getattr(record, field)
            object.__setattr__(record, field, forbidden)
            try:
                assert pickle.loads(data) is graph
            finally:
                object.__setattr__(record, field, before)


def test_markers_are_all_that_statics_need_beyond_plain_data():
    assert set(_codec.markers) == {"array"}


# --- jitted functions ----------------------------------------------------------------------------


def test_a_jitted_function_comes_back_without_its_programs():
    w, x = np.ones(3), np.eye(3)
    before = _pickled.jitted(w, x)
    copied = again(_pickled.jitted)
    assert copied is not _pickled.jitted  # "loss" is the name of the function only
    assert copied(w, x) == before
    assert again(fg.jit(_pickled.loss))(w, x) == before


def test_decorated_functions_go_by_their_names():
    assert again(_pickled.decorated) is _pickled.decorated
    assert copy.deepcopy(_pickled.decorated) is _pickled.decorated
    assert b"decorated" in pickle.dumps(_pickled.decorated)


def test_copies_of_a_jitted_function_have_programs_of_their_own():
    f = fg.jit(_pickled.loss)
    for g in (copy.copy(f), copy.deepcopy(f), again(f)):
        assert g is not f
        f(np.ones(3), np.eye(3))
        count = len(_pickled.calls)
        g(np.ones(3), np.eye(3))
        assert len(_pickled.calls) == count + 1


def test_a_jitted_lambda_is_refused_as_the_lambda_is():
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(fg.jit(lambda x: x))


# --- other processes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method", sorted({"fork", "spawn"} & set(multiprocessing.get_all_start_methods()))
)
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_pools_of_processes(method):
    w = np.linspace(-1.0, 1.0, 3)
    _pickled.jitted(w, X)  # so that a fork has programs to inherit
    graph = fg.trace(fg.grad(_pickled.loss), w, X)
    params = {"w": np.ones(3)}
    opt = fg.optim.adam(params, learning_rate=0.1)
    with multiprocessing.get_context(method).Pool(2) as pool:
        tasks = [pool.apply_async(_pickled.gradient, (w * i,)) for i in range(4)]
        jitted = pool.apply_async(_pickled.jitted, (w, X))
        decorated = pool.apply_async(_pickled.decorated, (w,))
        ran = pool.apply_async(_pickled.program, (graph, [w, X]))
        trained = pool.apply_async(_pickled.training, (params, opt))
        for i, task in enumerate(tasks):
            assert_array_equal(task.get(60), _pickled.gradient(w * i))
        assert_array_equal(jitted.get(60), _pickled.jitted(w, X))
        assert_array_equal(decorated.get(60), _pickled.decorated(w))
        assert_array_equal(ran.get(60)[0], fg.grad(_pickled.loss)(w, X))
        got, next_opt = trained.get(60)
        want, want_opt = _pickled.training(params, opt)
        assert_array_equal(got["w"], want["w"])
        assert fg.tree.structure(next_opt) == fg.tree.structure(want_opt)
