"""Rule authors' primitives take part in every transform; incomplete ones fail where they stand."""

import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import fungrad as fg
from fungrad import _primitive, extend
from fungrad._aval import make_aval
from fungrad.errors import IncompletePrimitiveError, UnsupportedFunctionError

X = np.array([-40.0, -1.5, 0.0, 0.3, 2.0, 40.0])


@pytest.fixture(autouse=True)
def _clean_registry(monkeypatch):
    """Forget what a test declares: other tests look at all primitives."""
    monkeypatch.setattr(_primitive, "_primitives", _primitive._primitives)
    answers = dict(_primitive.answers)  # others hold the dict itself: restore it in place
    yield
    _primitive.answers.clear()
    _primitive.answers.update(answers)


def softplus_value(x):
    return np.logaddexp(0, x)


@pytest.fixture
def softplus():
    return extend.elementwise(softplus_value, lambda y, x: (-np.expm1(-y),), name="mylab_softplus")


@pytest.fixture
def running_sum():
    declared = extend.primitive(
        "mylab_running_sum",
        value=lambda x: np.cumsum(x, axis=-1),
        aval=lambda x: x,
        vjp=lambda ct, y, x: (declared(ct[..., ::-1])[..., ::-1],),
        batch=lambda batched, size, x: declared(x),
    )
    return declared


def sigmoid(x):
    return np.exp(-np.logaddexp(0, -x))


def test_the_example_of_the_module_runs():
    """In a process of its own, because it declares primitives."""
    text = extend.__doc__.split("Example::\n")[1].split("\nReferences:")[0]
    code = textwrap.dedent(text)
    assert "elementwise(" in code
    assert "primitive(" in code
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


def test_elementwise_on_arrays_is_the_function_itself(softplus):
    np.testing.assert_array_equal(softplus(X), softplus_value(X))


def test_elementwise_grad_and_second_order(softplus):
    gradient = fg.grad(lambda x: np.sum(softplus(x)))
    np.testing.assert_allclose(gradient(X), sigmoid(X), rtol=1e-14)
    second = fg.grad(lambda x: np.sum(gradient(x)))
    np.testing.assert_allclose(second(X), sigmoid(X) * sigmoid(-X), rtol=1e-12)


def test_elementwise_keeps_float32(softplus):
    x = X.astype(np.float32)
    assert fg.jit(softplus)(x).dtype == np.float32
    assert fg.grad(lambda x: np.sum(softplus(x)))(x).dtype == np.float32


def test_elementwise_jit_interpreted_and_compiled(softplus):
    jitted = fg.jit(lambda x: softplus(x) * 2)
    for _ in range(4):
        np.testing.assert_array_equal(jitted(X), softplus_value(X) * 2)


def test_elementwise_vmap(softplus):
    batch = np.stack([X, 2 * X])
    np.testing.assert_array_equal(fg.vmap(softplus)(batch), softplus_value(batch))
    per_example = fg.vmap(fg.grad(lambda x: np.sum(softplus(x))))
    np.testing.assert_allclose(per_example(batch), sigmoid(batch), rtol=1e-14)


def test_elementwise_jvp(softplus):
    tangent = np.linspace(-1, 1, X.size)
    value, pushed = fg.jvp(softplus, (X,), (tangent,))
    np.testing.assert_array_equal(value, softplus_value(X))
    np.testing.assert_allclose(pushed, sigmoid(X) * tangent, rtol=1e-14)


def test_elementwise_of_two_operands_broadcasts_and_sums():
    """The engine sums over what was broadcast; the partials know nothing of it."""
    ratio = extend.elementwise(
        lambda a, b: a / (a + b),
        lambda y, a, b: (b / (a + b) ** 2, -a / (a + b) ** 2),
        name="mylab_ratio",
    )
    a, b = np.array([[1.0], [2.0]]), np.array([3.0, 4.0, 5.0])
    of_a, of_b = fg.grad(lambda a, b: np.sum(ratio(a, b)), argnums=(0, 1))(a, b)
    np.testing.assert_allclose(of_a, (b / (a + b) ** 2).sum(1, keepdims=True))
    np.testing.assert_allclose(of_b, (-a / (a + b) ** 2).sum(0))


def test_zero_and_index():
    steps = extend.elementwise(lambda x: np.floor(x), extend.ZERO, name="mylab_steps")
    np.testing.assert_array_equal(fg.grad(lambda x: np.sum(steps(x) + x))(X), np.ones_like(X))
    scaled = extend.elementwise(
        lambda n, x: n * x, lambda y, n, x: (extend.INDEX, n), name="mylab_scaled"
    )
    n = np.arange(X.size)
    np.testing.assert_array_equal(fg.grad(lambda x: np.sum(scaled(n, x)))(X), n)


def test_an_unwritten_rule_gives_its_reason_when_needed():
    cubed = extend.elementwise(
        lambda x: x**3, extend.Unwritten("see mylab, page 7"), name="mylab_cubed"
    )
    np.testing.assert_array_equal(fg.jit(cubed)(X), X**3)
    with pytest.raises(UnsupportedFunctionError, match=r"mylab_cubed.*see mylab, page 7"):
        fg.grad(cubed)(2.0)


def test_primitive_in_all_transforms(running_sum):
    x, weights = np.array([1.0, 2.0, 3.0]), np.array([1.0, 10.0, 100.0])
    matrix = np.tril(np.ones((3, 3)))
    f = lambda x: np.sum(weights * running_sum(x) ** 2)
    np.testing.assert_array_equal(running_sum(x), [1, 3, 6])
    expected = 2 * matrix.T @ (weights * (matrix @ x))
    for gradient in (fg.grad(f), fg.jit(fg.grad(f)), fg.grad(fg.jit(f))):
        for _ in range(3):
            np.testing.assert_allclose(gradient(x), expected)
    np.testing.assert_allclose(fg.hessian(f)(x), 2 * matrix.T @ np.diag(weights) @ matrix)
    np.testing.assert_allclose(fg.jacobian(running_sum)(x), matrix)
    np.testing.assert_allclose(fg.jvp(running_sum, (x,), (weights,))[1], matrix @ weights)
    batch = np.stack([x, weights])
    np.testing.assert_array_equal(fg.vmap(running_sum)(batch), np.cumsum(batch, axis=1))
    np.testing.assert_allclose(fg.vmap(fg.grad(f))(np.stack([x, x])), [expected, expected])


def test_static_arguments_are_part_of_the_program():
    shifted = extend.primitive(
        "mylab_shifted",
        value=lambda x, by: np.roll(x, by),
        aval=lambda x, by: x,
        vjp=lambda ct, y, x, by: (shifted(ct, by=-by),),
        batch=extend.Unwritten("no batches of mylab_shifted"),
    )
    x = np.arange(4.0)
    both = fg.jit(lambda x: (shifted(x, by=1), shifted(x, by=2)))
    for _ in range(3):
        np.testing.assert_array_equal(both(x), [np.roll(x, 1), np.roll(x, 2)])
    np.testing.assert_array_equal(fg.grad(lambda y: np.sum(x * shifted(y, by=1)))(x), [1, 2, 3, 0])
    with pytest.raises(UnsupportedFunctionError, match="no batches of mylab_shifted"):
        fg.vmap(lambda x: shifted(x, by=1))(np.ones((2, 3)))


def test_implements_answers_a_numpy_function(monkeypatch):
    monkeypatch.delitem(_primitive.answers, np.heaviside, raising=False)

    @extend.implements(np.heaviside)
    def heaviside(x, at_zero):
        return np.where(x == 0, at_zero, np.where(x > 0, 1.0, 0.0))

    np.testing.assert_array_equal(fg.jit(lambda x: np.heaviside(x, 0.5))(X), np.heaviside(X, 0.5))
    with pytest.raises(IncompletePrimitiveError, match="answered twice"):
        extend.implements(np.heaviside)(heaviside)


RULES = {
    "value": lambda x: x + 0,
    "aval": lambda x: x,
    "vjp": lambda ct, y, x: (ct,),
    "batch": lambda batched, size, x: x,
}


@pytest.mark.parametrize("rule", RULES)
def test_a_missing_rule_is_named_at_the_declaration(rule):
    with pytest.raises(IncompletePrimitiveError, match=rf"mylab_broken.*{rule}"):
        extend.primitive("mylab_broken", **{**RULES, rule: None})
    assert "mylab_broken" not in extend.registry()


def test_missing_partials_are_named_at_the_declaration():
    with pytest.raises(IncompletePrimitiveError, match=r"mylab_broken.*partials"):
        extend.elementwise(lambda x: x, None, name="mylab_broken")
    assert "mylab_broken" not in extend.registry()


def test_a_name_is_declared_once(softplus):
    with pytest.raises(IncompletePrimitiveError, match=r"mylab_softplus.*twice"):
        extend.elementwise(lambda x: x, extend.ZERO, name="mylab_softplus")
    assert extend.registry()["mylab_softplus"] is softplus


def test_the_registry_is_a_snapshot(running_sum):
    before = extend.registry()
    extend.primitive("mylab_more", **RULES)
    assert "mylab_more" not in before
    assert isinstance(extend.registry()["mylab_more"], extend.Primitive)
    assert pickle.loads(pickle.dumps(running_sum)) is running_sum


def test_a_cotangent_of_a_wrong_shape_is_refused_also_where_the_size_fits():
    flip = extend.primitive(
        "forgetful_flip",
        value=lambda x: np.array(x.T),
        aval=lambda x: make_aval(x.shape[::-1], x.dtype),
        vjp=lambda ct, y, x: (ct,),
        batch=extend.Unwritten("not needed here"),
    )
    with pytest.raises(fg.errors.CotangentError, match=r"\(3, 2\).*\(2, 3\)"):
        fg.grad(lambda x: np.sum(flip(x) * np.arange(6.0).reshape(3, 2)))(np.ones((2, 3)))


@pytest.mark.parametrize(
    ("rules", "error", "match"),
    [
        (
            {"aval": lambda x: x.shape},
            IncompletePrimitiveError,
            r"gave a tuple; write: .*make_aval",
        ),
        ({"vjp": lambda ct, y, x: ct}, fg.errors.CotangentError, r"gave a Tracer for 1 operands"),
        ({"vjp": lambda ct, y, x: (ct, ct)}, fg.errors.CotangentError, "gave 2 cotangents for 1"),
        ({"vjp": lambda ct, y, x: (None,)}, fg.errors.CotangentError, "gave a NoneType"),
        ({"batch": lambda b, size, x: x[0]}, fg.errors.ShapeMismatchError,
         r"batch rule of mylab_bad gave Tracer<float64\[\]> instead of float64\[3\]; write: "),
        ({"batch": lambda b, size, x: None}, fg.errors.ShapeMismatchError, "gave None instead"),
    ],
)  # fmt: skip
def test_rules_that_return_something_else(rules, error, match):
    complete = {
        "value": lambda x: x * 2.0,
        "aval": lambda x: x,
        "vjp": lambda ct, y, x: (ct * 2,),
        "batch": lambda batched, size, x: bad(x),
    }
    bad = extend.primitive("mylab_bad", **{**complete, **rules})
    assert bad(1.0) == 2.0
    with pytest.raises(error, match=match):
        fg.vmap(fg.value_and_grad(lambda x: bad(x)))(np.ones(3))


def test_several_results_in_all_transforms():
    halves = extend.primitive(
        "mylab_halves",
        value=lambda x: (x[: len(x) // 2] * 2, x[len(x) // 2 :] * x[0]),
        aval=lambda x: extend.tuple_aval(*[make_aval((x.shape[0] // 2,), x.dtype)] * 2),
        vjp=lambda ct, y, x: (
            np.concatenate([ct[0] * 2, ct[1] * x[0]])
            + fg.at(np.zeros_like(x))[0].set(np.sum(ct[1] * x[2:])),
        ),
        batch=lambda batched, size, x: (x[:, :2] * 2, x[:, 2:] * x[:, :1]),
    )
    x = np.array([2.0, 3.0, 5.0, 7.0])
    f = lambda x: np.sum(np.sin(halves(x)[0])) + np.sum(halves(x)[1] ** 2)
    fg.testing.check_grads(f, (x,))
    for _ in range(3):
        assert np.allclose(fg.jit(fg.grad(f))(x), fg.grad(f)(x))
    assert np.allclose(fg.vmap(fg.grad(f))(np.stack([x, -x])), [fg.grad(f)(x), fg.grad(f)(-x)])
