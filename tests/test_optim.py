"""Optimizers: the published formulas, as pure values that ``jit`` traces once."""

import copy
import math
import pickle
from collections import namedtuple
from functools import partial

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pyrsistent import PMap, pmap, pvector

import fungrad as fg
from fungrad import optim
from fungrad.errors import (
    CotangentError,
    InputTypeError,
    NonDifferentiableInputError,
    ShapeMismatchError,
    TreeMismatchError,
)

RATE = 0.125
MAKERS = {
    "sgd": optim.sgd,
    "momentum": optim.momentum,
    "nesterov": partial(optim.momentum, nesterov=True),
    "adam": optim.adam,
}
every_optimizer = pytest.mark.parametrize("name", MAKERS)
Pair = namedtuple("Pair", "left right")


@attrs.frozen(eq=False)
class Layer:
    w: np.ndarray
    b: float
    name: str = attrs.field(default="layer", metadata={"static": True})


# --- the formulas, written out number by number -------------------------------------------------


def reference(name, p, gradients, rate=lambda step: RATE):
    """One parameter (a float) after these gradients, by the formulas as published."""
    velocity = mean = square = 0.0
    for step, g in enumerate(gradients):
        eta = rate(step)
        if name == "sgd":
            p = p - eta * g
        elif name == "momentum":
            velocity = 0.9 * velocity + g
            p = p - eta * velocity
        elif name == "nesterov":
            velocity = 0.9 * velocity + g
            p = p - eta * (g + 0.9 * velocity)
        else:  # Kingma and Ba 2015, Algorithm 1
            mean = 0.9 * mean + 0.1 * g
            square = 0.999 * square + 0.001 * g * g
            m_hat, v_hat = mean / (1 - 0.9 ** (step + 1)), square / (1 - 0.999 ** (step + 1))
            p = p - eta * m_hat / (math.sqrt(v_hat) + 1e-8)
    return p


def reference_array(name, p, gradients, **kwargs):
    """``reference`` for every entry of arrays."""
    columns = zip(*[np.asarray(g, float).ravel() for g in gradients], strict=True)
    entries = zip(np.asarray(p, float).ravel(), columns, strict=True)
    moved = [reference(name, float(start), map(float, gs), **kwargs) for start, gs in entries]
    return np.reshape(moved, np.shape(p))


def test_sgd_by_hand():
    opt = optim.sgd(2.0, learning_rate=0.5)
    p, opt = opt.update(2.0, 3.0)
    assert p == 0.5
    p, opt = opt.update(p, -1.0)
    assert p == 1.0


def test_momentum_by_hand():
    opt = optim.momentum(2.0, learning_rate=0.5, decay=0.25)
    p, opt = opt.update(2.0, 4.0)
    assert (p, opt.velocity) == (0.0, 4.0)
    p, opt = opt.update(p, 1.0)
    assert (p, opt.velocity) == (-1.0, 2.0)


def test_nesterov_by_hand():
    opt = optim.momentum(2.0, learning_rate=0.5, decay=0.25, nesterov=True)
    p, opt = opt.update(2.0, 4.0)
    assert (p, opt.velocity) == (2.0 - 0.5 * (4.0 + 0.25 * 4.0), 4.0)
    p, opt = opt.update(p, 1.0)
    assert (p, opt.velocity) == (-0.5 - 0.5 * (1.0 + 0.25 * 2.0), 2.0)


def test_adam_by_hand():
    # b1 = 1/2, b2 = 3/4, g = 4 then 2, without eps: m = 2, 2; v = 4, 4.
    opt = optim.adam(1.0, learning_rate=0.5, b1=0.5, b2=0.75, eps=0.0)
    p, opt = opt.update(1.0, 4.0)
    assert p == pytest.approx(0.5, rel=1e-15)  # 1 - 0.5 * (2/0.5) / sqrt(4/0.25)
    p, opt = opt.update(p, 2.0)
    step = 0.5 * (2 / 0.75) / math.sqrt(4 / (1 - 0.75**2))
    assert p == pytest.approx(0.5 - step, rel=1e-15)
    # The moments of the paper are these sums times 1 - b1 and 1 - b2.
    assert (opt.first * 0.5, opt.second * 0.25) == (2.0, 4.0)


def test_adam_eps_is_that_of_algorithm_1():
    """Outside of the root and after the bias correction; at g = eps it halves the first step."""
    p, _ = optim.adam(1.0, learning_rate=0.5, eps=1e-2).update(1.0, 1e-2)
    assert p == pytest.approx(0.75, rel=1e-14)


def containers(values):
    """The structures in which parameters come."""
    a, b, c = values
    return st.sampled_from(
        [
            [a, b, c],
            (a, (b, c), None),
            {"z": a, "y": {"x": b}, "w": c},
            pmap({"a": a, "b": pvector([b, c])}),
            Pair(Layer(a, b), c),
        ]
    )


leaves = st.tuples(
    st.sampled_from([np.float32, np.float64]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
).flatmap(
    lambda kind: hnp.arrays(
        *kind,
        elements=st.floats(-4, 4, width=32).map(lambda x: round(x * 64) / 64),
    )
)


@every_optimizer
@given(data=st.data())
def test_several_steps_follow_the_formulas(name, data):
    """On all shapes, dtypes and structures, un-jitted and jitted."""
    params = data.draw(st.tuples(leaves, leaves, leaves).flatmap(containers))
    parts = fg.tree.leaves(params)
    gradients = [
        [data.draw(hnp.arrays(p.dtype, p.shape, elements=st.integers(-8, 8))) for p in parts]
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    structure = fg.tree.structure(params)
    opt = MAKERS[name](params, RATE)
    update = fg.jit(lambda params, grads, opt: opt.update(params, grads))
    jitted, jitted_opt, new = params, opt, params
    for grads in gradients:
        new, opt = opt.update(new, structure.unflatten(grads))
        jitted, jitted_opt = update(jitted, structure.unflatten(grads), jitted_opt)

    assert fg.tree.structure(new) is structure
    for i, (old, one, other) in enumerate(
        zip(parts, fg.tree.leaves(new), fg.tree.leaves(jitted), strict=True)
    ):
        assert one.dtype == old.dtype
        assert one.shape == old.shape
        expected = reference_array(name, old, [grads[i] for grads in gradients])
        tolerance = 1e-13 if old.dtype == np.float64 else 1e-5
        np.testing.assert_allclose(one, expected, rtol=tolerance, atol=tolerance)
        np.testing.assert_array_equal(one, other, strict=True)
    assert_same(opt, jitted_opt)


def assert_same(one, other):
    """Equal trees, to the bit and the dtype."""
    assert fg.tree.structure(one) is fg.tree.structure(other)
    for a, b in zip(fg.tree.leaves(one), fg.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.asarray(a).dtype == np.asarray(b).dtype


# --- jit -------------------------------------------------------------------------------------

PARAMS = {"w": np.array([[0.5, -1.0], [2.0, 0.25]], np.float32), "b": np.array([0.5, -0.5])}


def loss(params, x):
    return np.sum(np.tanh(x @ params["w"] + params["b"]) ** 2)


def counted_step():
    """A training step, and the list of its Python executions."""
    runs = []

    @fg.jit
    def step(params, opt, x):
        runs.append(None)
        value, grads = fg.value_and_grad(loss)(params, x)
        return *opt.update(params, grads), value

    return step, runs


class Decay:
    """A schedule that pickles; its instances are compared by identity."""

    def __call__(self, step):
        return RATE / (1 + step)


def warm_up(step):
    return RATE * np.minimum(1, (step + 1) / 3)


@attrs.frozen(eq=False)
class Cosine:
    """A schedule that is a pytree: its numbers are inputs of a jitted step."""

    top: float
    length: int

    def __call__(self, step):
        return self.top * 0.5 * (1 + np.cos(np.pi * np.minimum(step / self.length, 1)))


SCHEDULES = {
    "lambda": lambda step: RATE * 0.5**step,
    "object": Decay(),
    "np": warm_up,
    "pytree": Cosine(RATE, 3),
    "constant": lambda step: RATE,
}


@every_optimizer
@pytest.mark.parametrize(
    "rate",
    [RATE, 1, np.float32(RATE), np.array(RATE), *SCHEDULES.values()],
    ids=lambda rate: type(rate).__name__,
)
def test_a_step_is_traced_once(name, rate):
    step, runs = counted_step()
    params, opt = PARAMS, MAKERS[name](PARAMS, rate)
    for _ in range(5):
        params, opt, _ = step(params, opt, np.ones((3, 2)))
    assert len(runs) == 1
    assert opt.step == 5


@every_optimizer
def test_another_number_is_not_traced_again(name):
    step, runs = counted_step()
    params, opt = PARAMS, MAKERS[name](PARAMS, RATE)
    for rate in (0.1, 1, 0.01, np.float64(0.25)):
        params, opt, _ = step(params, attrs.evolve(opt, learning_rate=rate), np.ones((3, 2)))
        assert opt.learning_rate == rate
    if name == "adam":
        params, opt, _ = step(params, attrs.evolve(opt, b1=0.5, b2=0.75, eps=1e-3), np.ones((3, 2)))
    if name == "momentum":
        params, opt, _ = step(params, attrs.evolve(opt, decay=0), np.ones((3, 2)))
    assert len(runs) == 1


def test_the_numbers_of_a_pytree_schedule_are_inputs():
    step, runs = counted_step()
    params, opt = PARAMS, optim.sgd(PARAMS, Cosine(RATE, 3))
    for top in (0.1, 0.2, 0.3):
        opt = attrs.evolve(opt, learning_rate=Cosine(top, 4))
        for _ in range(2):
            params, opt, _ = step(params, opt, np.ones((3, 2)))
    assert len(runs) == 1


def test_flags_and_schedules_select_a_program():
    """They are structure, so a jitted step may branch on them; there and back is two programs."""
    step, runs = counted_step()
    opt = optim.momentum(PARAMS, RATE)
    for _ in range(2):
        for change in ({}, {"nesterov": True}, {"learning_rate": warm_up}):
            step(PARAMS, attrs.evolve(opt, **change), np.ones((3, 2)))
    assert len(runs) == 3


@every_optimizer
@pytest.mark.parametrize("rate", [RATE, *SCHEDULES.values()], ids=["number", *SCHEDULES])
def test_a_jitted_step_equals_the_plain_one(name, rate):
    step, _ = counted_step()
    params, opt = PARAMS, MAKERS[name](PARAMS, rate)
    plain, plain_opt = params, opt
    x = np.linspace(-1, 1, 6).reshape(3, 2)
    for _ in range(5):
        grads = fg.grad(loss)(plain, x)
        plain, plain_opt = plain_opt.update(plain, grads)
        params, opt, _ = step(params, opt, x)
    for key, value in PARAMS.items():
        tolerance = 1e-12 if value.dtype == np.float64 else 1e-5
        np.testing.assert_allclose(params[key], plain[key], rtol=tolerance)
        assert params[key].dtype == plain[key].dtype == value.dtype


@every_optimizer
def test_an_optimizer_made_inside_a_jitted_function(name):
    def train(params, rate, grads):
        opt = MAKERS[name](params, rate)
        for _ in range(3):
            params, opt = opt.update(params, grads)
        return params, opt

    expected = train(PARAMS, RATE, PARAMS)
    jitted = fg.jit(train)
    for _ in range(3):
        assert_same(jitted(PARAMS, RATE, PARAMS), expected)


@every_optimizer
def test_the_program_of_a_step_is_short(name):
    """The operations on arrays, which are what a step costs."""
    p = np.ones(1000, np.float32)
    graph = fg.trace(lambda p, g, opt: opt.update(p, g), p, p, MAKERS[name](p, RATE))
    operations = [node for node in graph.nodes if node.aval.shape]
    assert len(operations) == {"sgd": 2, "momentum": 4, "nesterov": 6, "adam": 10}[name]
    assert {node.aval.dtype for node in operations} == {np.dtype(np.float32)}


# --- schedules -------------------------------------------------------------------------------


@every_optimizer
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_schedules_follow_the_formulas(name, schedule):
    gradients = [np.array([1.0, -2.0]), np.array([0.5, 4.0]), np.array([-3.0, 0.0])]
    p = np.array([1.0, 2.0])
    opt = MAKERS[name](p, schedule)
    new = p
    for g in gradients:
        new, opt = opt.update(new, g)
    np.testing.assert_allclose(new, reference_array(name, p, gradients, rate=schedule), rtol=1e-13)


def test_a_schedule_gets_the_steps_from_0():
    steps = []

    def schedule(step):
        steps.append(step)
        return 0.0

    p, opt = 1.0, optim.sgd(1.0, schedule)
    for _ in range(3):
        p, opt = opt.update(p, 1.0)
    assert steps == [0, 1, 2]
    assert opt.step == 3
    fg.jit(lambda opt: opt.update(1.0, 1.0))(opt)
    assert "Tracer" in repr(steps[3])


def test_a_schedule_with_a_python_branch_is_right_under_jit():
    """Slower (``np.where`` is the way to write it), but not stale."""
    p, opt = np.ones(2), optim.sgd(np.ones(2), lambda step: 0.5 if step < 2 else 0.0)
    update = fg.jit(lambda p, opt: opt.update(p, np.ones(2)))
    for expected in (0.5, 0.0, 0.0, 0.0):
        p, opt = update(p, opt)
        np.testing.assert_array_equal(p, expected)


def test_one_schedule_object_stays_one_structure():
    opt = optim.adam(1.0, warm_up)
    _, later = opt.update(1.0, 2.0)
    assert fg.tree.structure(opt) is fg.tree.structure(later)
    assert fg.tree.structure(opt) is fg.tree.structure(attrs.evolve(opt, b1=0.5))
    assert later.learning_rate.function is warm_up
    assert later.learning_rate(0) == warm_up(0)


# --- values ----------------------------------------------------------------------------------


@every_optimizer
def test_update_changes_nothing_that_it_is_given(name):
    params = {"w": np.arange(3.0), "b": 0.5}
    grads = {"w": np.array([1.0, -1.0, 0.0]), "b": 2.0}
    for array in (params["w"], grads["w"]):
        array.flags.writeable = False
    _, opt = MAKERS[name](params, RATE).update(params, grads)
    before = copy.deepcopy((params, grads, opt))
    first = opt.update(params, grads)
    second = opt.update(params, grads)
    assert_same((params, grads, opt), before)
    assert_same(first, second)
    fg.jit(lambda opt: opt.update(params, grads))(opt)
    assert_same((params, grads, opt), before)
    new, _ = first
    assert not np.shares_memory(new["w"], params["w"])
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        opt.learning_rate = 1.0


def test_a_learning_rate_in_an_array_is_read_once():
    rate = np.array(0.5)
    opt = optim.sgd(1.0, rate)
    rate[...] = 100.0
    assert opt.update(1.0, 1.0)[0] == 0.5


@every_optimizer
@pytest.mark.parametrize("rate", [0.1, 1, np.float32(0.1), np.float64(0.1), np.array(0.1), warm_up])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_parameters_keep_their_dtype(name, rate, dtype):
    """Also with gradients of another precision."""
    p = np.ones(3, dtype)
    eps = {"eps": 1e-4} if name == "adam" else {}
    for g in (p, p.astype(np.float32), p.astype(np.float64)):
        new, opt = MAKERS[name](p, rate, **eps).update(p, g)
        new, opt = opt.update(new, g)
        assert new.dtype == dtype
        assert all(getattr(opt, field).dtype == dtype for field in opt._state)
        jitted, _ = fg.jit(lambda p, g, opt: opt.update(p, g))(p, g, opt)
        assert jitted.dtype == dtype


@every_optimizer
def test_scalars_keep_their_type(name):
    for p in (1.0, 1j, np.float32(1.0), np.float64(1.0)):
        new, opt = MAKERS[name](p, RATE).update(p, p)
        new, _ = opt.update(new, p)
        assert type(new) is type(p)


@every_optimizer
def test_containers_keep_their_type(name):
    params = pmap({"layer": Layer(np.ones(2), 0.5, "first"), "rest": pvector([np.zeros(1)])})
    step = fg.jit(lambda p, opt: opt.update(p, fg.grad(lambda p: np.sum(p["layer"].w ** 2))(p)))
    opt = MAKERS[name](params, RATE)
    for _ in range(3):
        params, opt = step(params, opt)
    assert isinstance(params, PMap)
    assert isinstance(params["layer"], Layer)
    assert params["layer"].name == "first"
    assert params["layer"].b == 0.5
    assert np.all(params["layer"].w < 1)
    assert type(params["rest"]) is type(pvector())


@every_optimizer
def test_no_parameters(name):
    params, opt = MAKERS[name]({}, RATE).update({}, {})
    assert params == {}
    assert opt.step == 1


@every_optimizer
@pytest.mark.parametrize(
    "rate", [RATE, warm_up, Cosine(RATE, 3)], ids=["number", "function", "tree"]
)
def test_pickle_and_copy(name, rate):
    _, opt = MAKERS[name](PARAMS, rate).update(PARAMS, PARAMS)
    for clone in (pickle.loads(pickle.dumps(opt)), copy.deepcopy(opt), copy.copy(opt)):
        assert type(clone) is type(opt)
        assert_same(clone, opt)
        assert_same(clone.update(PARAMS, PARAMS), opt.update(PARAMS, PARAMS))


def test_an_optimizer_is_a_tree_of_numbers():
    opt = optim.momentum({"w": np.ones(2)}, warm_up, nesterov=True)
    assert fg.tree.structure(opt).paths() == [".step", ".decay", ".velocity['w']"]
    opt = optim.adam(1.0, 0.5)
    paths = [".learning_rate", ".step", ".b1", ".b2", ".eps", ".first", ".second"]
    assert fg.tree.structure(opt).paths() == paths
    assert len(repr(optim.adam(np.zeros((100, 100)), 0.5))) < 200


def test_vmap_over_learning_rates():
    def train(rate):
        p = np.array([1.0, -2.0])
        opt = optim.adam(p, rate)
        for _ in range(3):
            p, opt = opt.update(p, 2 * p)
        return p, opt

    rates = np.array([0.1, 0.2, 0.3])
    found, opts = fg.vmap(train)(rates)
    for i, rate in enumerate(rates):
        expected, opt = train(rate)
        np.testing.assert_allclose(found[i], expected, rtol=1e-14)
        np.testing.assert_allclose(opts.second[i], opt.second, rtol=1e-14)
    moved, _ = fg.vmap(lambda p, opt: opt.update(p, p))(found, opts)
    assert moved.shape == (3, 2)


# --- what it is for --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "rate"),
    [
        (optim.sgd, 0.2),
        (optim.momentum, 0.05),
        (MAKERS["nesterov"], 0.05),
        (optim.adam, lambda step: 0.3 * 0.98**step),
    ],
)
def test_convergence_on_a_quadratic(make, rate):
    scale, target = np.array([1.0, 4.0]), np.array([3.0, -1.0])
    step = fg.jit(
        lambda p, opt: opt.update(p, fg.grad(lambda p: np.sum(scale * (p - target) ** 2) / 2)(p))
    )
    p = np.zeros(2)
    opt = make(p, rate)
    for _ in range(400):
        p, opt = step(p, opt)
    np.testing.assert_allclose(p, target, atol=1e-3)


@every_optimizer
def test_complex_parameters_descend(name):
    """The gradient pairs as Re(g·dp): downhill is along its conjugate."""
    target = np.array([2.0 + 0.5j, -1j])
    p = np.array([1.0 + 2.0j, 3.0 - 1.0j])
    gradient = fg.grad(lambda p: np.sum(np.abs(p - target) ** 2))
    opt = MAKERS[name](p, 0.05)
    for _ in range(500):
        p, opt = opt.update(p, gradient(p))
    np.testing.assert_allclose(p, target, atol=1e-3)
    assert p.dtype == np.complex128
    if name == "adam":
        assert opt.second.dtype == np.float64


@every_optimizer
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_derivative_with_respect_to_the_learning_rate(name, steps):
    """The loss after training is a function of the learning rate like any other."""
    start = {"w": np.array([0.5, -1.0, 2.0]), "b": np.float64(0.25)}

    def objective(p):
        return np.sum(np.sin(p["w"]) ** 2) + np.cos(p["b"] * p["w"][0])

    def after(rate, p):
        opt = MAKERS[name](p, rate)
        for _ in range(steps):
            p, opt = opt.update(p, fg.grad(objective)(p))
        return objective(p)

    h = 1e-5
    expected = (after(0.1 + h, start) - after(0.1 - h, start)) / (2 * h)
    np.testing.assert_allclose(fg.grad(after)(0.1, start), expected, rtol=1e-7)
    np.testing.assert_allclose(fg.jit(fg.grad(after))(0.1, start), expected, rtol=1e-7)
    by_start = fg.grad(after, argnums=1)(0.1, start)
    for i in range(3):
        nudge = h * (np.arange(3) == i)
        up, down = ({**start, "w": start["w"] + s * nudge} for s in (1, -1))
        expected = (after(0.1, up) - after(0.1, down)) / (2 * h)
        np.testing.assert_allclose(by_start["w"][i], expected, rtol=1e-6, atol=1e-9)


def test_derivative_with_respect_to_the_decay():
    def after(decay):
        p = np.array([1.0, -2.0])
        opt = optim.momentum(p, 0.1, decay=decay)
        for _ in range(3):
            p, opt = opt.update(p, p)
        return np.sum(p)

    h = 1e-6
    expected = (after(0.9 + h) - after(0.9 - h)) / (2 * h)
    np.testing.assert_allclose(fg.grad(after)(0.9), expected, rtol=1e-8)


def test_derivative_through_adam_where_a_gradient_is_0():
    """A parameter that the loss does not feel must not turn the others' derivatives into NaN."""
    used = np.array([1.0, 0.0])

    def after(rate, p):
        opt = optim.adam(p, rate)
        for _ in range(2):
            p, opt = opt.update(p, fg.grad(lambda p: np.sum(used * p**3))(p))
        return np.sum(p)

    p = np.array([1.5, 2.0])
    h = 1e-5
    expected = (after(0.1 + h, p) - after(0.1 - h, p)) / (2 * h)
    np.testing.assert_allclose(fg.grad(after)(0.1, p), expected, rtol=1e-7)
    assert np.all(np.isfinite(fg.grad(after, argnums=1)(0.1, p)))


# --- errors ----------------------------------------------------------------------------------


@every_optimizer
def test_gradients_of_another_structure(name):
    params = {"w": np.ones(2), "b": np.ones(1)}
    opt = MAKERS[name](params, RATE)
    with pytest.raises(
        TreeMismatchError, match=r"grads.*params has the key 'b', and grads has not"
    ):
        opt.update(params, {"w": np.ones(2)})
    with pytest.raises(TreeMismatchError, match=r"grads\['b'\] is None"):
        opt.update(params, {"w": np.ones(2), "b": None})
    with pytest.raises(TreeMismatchError, match=r"grads"):
        opt.update(params, [np.ones(2), np.ones(1)])


@pytest.mark.parametrize(
    ("name", "state"), [("momentum", "velocity"), ("nesterov", "velocity"), ("adam", "first")]
)
def test_parameters_of_another_structure_than_the_optimizer_was_made_for(name, state):
    opt = MAKERS[name]({"w": np.ones(2)}, RATE)
    more = {"w": np.ones(2), "b": np.ones(1)}
    with pytest.raises(TreeMismatchError, match=rf"params has the key 'b', .*{state} has not"):
        opt.update(more, more)
    other = {"w": np.ones((3, 2))}
    expected = rf"{state}\['w'\] has shape \(2,\), but params\['w'\] has shape \(3, 2\)"
    with pytest.raises(ShapeMismatchError, match=expected):
        opt.update(other, other)


@every_optimizer
def test_gradients_of_another_shape_or_kind(name):
    params = {"layers": [np.ones(2), np.ones((2, 3))]}
    opt = MAKERS[name](params, RATE)
    expected = (
        r"grads\['layers'\]\[1\] has shape \(3,\), but params\['layers'\]\[1\] has shape \(2, 3\)"
    )
    with pytest.raises(ShapeMismatchError, match=expected):
        opt.update(params, {"layers": [np.ones(2), np.ones(3)]})
    with pytest.raises(CotangentError, match=r"grads\['layers'\]\[0\] has dtype complex128"):
        opt.update(params, {"layers": [np.ones(2) * 1j, np.ones((2, 3))]})
    with pytest.raises(ShapeMismatchError, match=expected):
        fg.jit(opt.update)(params, {"layers": [np.ones(2), np.ones(3)]})


@every_optimizer
@pytest.mark.parametrize(
    ("leaf", "found"), [(3, "int64"), (np.arange(3), "int64"), (True, "bool"), ("relu", "a str")]
)
def test_parameters_that_have_no_derivative(name, leaf, found):
    params = {"w": np.ones(2), "n": leaf}
    expected = rf"params\['n'\] is .*{found}"
    with pytest.raises(NonDifferentiableInputError, match=expected):
        MAKERS[name](params, RATE)
    opt = MAKERS[name]({"w": np.ones(2), "n": 1.0}, RATE)
    with pytest.raises(NonDifferentiableInputError, match=expected):
        opt.update(params, {"w": np.ones(2), "n": 1.0})


@every_optimizer
def test_hyper_parameters_that_are_no_numbers(name):
    make = MAKERS[name]
    for wrong in ("0.1", None, True, 1j, [0.1]):
        with pytest.raises(InputTypeError, match="learning_rate must be a real number"):
            make(1.0, wrong)
    with pytest.raises(ShapeMismatchError, match=r"learning_rate must be one number.*\(2,\).*vmap"):
        make(1.0, np.ones(2))
    with pytest.raises(InputTypeError, match="schedule"):
        make(1.0, lambda step: "0.1").update(1.0, 1.0)
    with pytest.raises(ShapeMismatchError, match="schedule"):
        make(1.0, lambda step: np.ones(2)).update(1.0, 1.0)
    with pytest.raises(InputTypeError, match="learning_rate"):
        attrs.evolve(make(1.0, 0.5), learning_rate="0.1")


def test_other_hyper_parameters_that_are_no_numbers():
    with pytest.raises(InputTypeError, match="hyper-parameter must be a real number"):
        optim.momentum(1.0, 0.5, decay=None)
    with pytest.raises(ShapeMismatchError, match="hyper-parameter"):
        optim.adam(1.0, 0.5, b1=np.array([0.9]))
