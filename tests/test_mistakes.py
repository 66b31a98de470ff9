"""A newcomer's likeliest mistakes, and what each of them is told.

The docstring of a mistake is the whole message that it gets, but for the line of the user's file,
which is checked too. At the end stand the mistakes that no library can see.
"""

import contextlib
import inspect
import io
import json
import math
import pickle
from textwrap import dedent

import numpy as np
import pytest

import fungrad as fg

X = np.array([1.0, 2.0, 3.0])
PARAMS = {"w": np.ones(3)}
MISTAKES = []


def mistake(error, here=True):
    """Declare a mistake; ``here``: fungrad's own error, which names the line."""

    def declare(function):
        MISTAKES.append(pytest.param(function, error, here, id=function.__name__))
        return function

    return declare


def told(error):
    """The message with the line of the user's file, wherever that stands."""
    return "\n".join([str(error), *getattr(error, "__notes__", ())])


@pytest.mark.parametrize(("function", "error", "here"), MISTAKES)
def test_mistake(function, error, here):
    with pytest.raises(error) as info:
        function()
    assert type(info.value) is error
    message, _, line = told(info.value).partition("\n  at ")
    expected = " ".join(dedent(inspect.getdoc(function)).split())
    assert " ".join(message.split()) == expected
    if here:
        lines, start = inspect.getsourcelines(function)
        file, _, number = line.partition(", in ")[0].rpartition(":")
        assert file == __file__
        assert start <= int(number) < start + len(lines)


def test_there_are_forty():
    assert len(MISTAKES) >= 40


# --- calling transforms -----------------------------------------------------------------------------


@mistake(fg.errors.ArgumentError)
def gradient_at_once():
    """
    argnums is 3.0, which is no position of an argument; write: an int or a tuple of ints, and give
    the arguments to the result: fg.grad(f)(x)
    """
    fg.grad(lambda x: x * x, 3.0)


@mistake(fg.errors.ArgumentError)
def gradient_of_a_number():
    """
    grad needs a function, but got a float; write: fg.grad(f)(x), with f as it is and not a result
    of it
    """
    fg.grad(3.0 * 2.0)


@mistake(fg.errors.ArgumentError)
def gradient_of_a_result():
    """
    grad needs a function, but got a float64; write: fg.grad(f)(x), with f as it is and not a result
    of it
    """
    fg.grad(np.sum(X))(X)


@mistake(fg.errors.ArgumentError)
def no_argument():
    """
    argnums=0 names an argument that this call does not have: it has 0 positional ones; write: the
    argument, as in fg.grad(f)(x)
    """
    fg.grad(lambda x: x * x)()


@mistake(fg.errors.ArgumentError)
def argument_by_keyword():
    """
    argnums=0 names an argument that this call does not have: it has 0 positional ones; write: that
    argument without its keyword
    """
    fg.grad(lambda x: x * x)(x=3.0)


@mistake(fg.errors.ArgumentError)
def argnums_beyond_the_arguments():
    """
    argnums=2 names an argument that this call does not have: it has 2 positional ones; write: one
    below 2
    """
    fg.grad(lambda x, y: x * y, argnums=2)(1.0, 2.0)


@mistake(fg.errors.ArgumentError)
def argnums_by_name():
    """
    argnums is 'y', which is no position of an argument; write: an int or a tuple of ints, and give
    the arguments to the result: fg.grad(f)(x)
    """
    fg.grad(lambda x, y: x * y, argnums="y")(1.0, 2.0)


@mistake(TypeError, here=False)
def missing_argument():
    """missing_argument.<locals>.<lambda>() missing 1 required positional argument: 'y'"""
    fg.jit(lambda x, y: x)(1.0)


@mistake(fg.errors.ArgumentError)
def tangents_that_are_no_tuple():
    """
    jvp needs primals as a tuple, one for each argument of the function, but got a ndarray; write:
    (primal,) for a single one
    """
    fg.jvp(lambda x: np.sum(x), X, X)


@mistake(fg.errors.ArgumentError)
def vjp_of_a_result():
    """
    vjp needs a function, but got a ndarray; write: fg.vjp(f, x), with f as it is and not a result
    of it
    """
    fg.vjp(np.sin(X), X)


@mistake(fg.errors.ArgumentError)
def jvp_of_a_result():
    """
    jvp needs a function, but got a ndarray; write: fg.jvp(f, (x,), (tangent,)), with f as it is and
    not a result of it
    """
    fg.jvp(np.sin(X), (X,), (X,))


@mistake(fg.errors.ArgumentError)
def hvp_of_a_result():
    """
    hvp needs a function, but got a float64; write: fg.hvp(f, (x,), (tangent,)), with f as it is and
    not a result of it
    """
    fg.hvp(np.sum(X), (X,), (X,))


@mistake(fg.errors.ArgumentError)
def derivative_of_a_result():
    """
    derivative needs a function, but got a ndarray; write: fg.derivative(f)(x), with f as it is and
    not a result of it
    """
    fg.derivative(np.sin(X))


@mistake(fg.errors.ArgumentError)
def one_cotangent_for_each_result():
    """
    a pullback takes one cotangent, of the structure of the function's result, but got 2; write:
    pullback((a, b)) where the result is a tuple
    """
    _, pullback = fg.vjp(lambda x: (x * 2, x * 3), X)
    pullback(X, X)


@mistake(fg.errors.TreeMismatchError)
def cotangent_in_a_tuple():
    """
    the cotangent must have the structure of the function's result, but the function's result is a
    leaf, and the cotangent is the tuple (*,).
    """
    _, pullback = fg.vjp(lambda x: x * 2, X)
    pullback((X,))


@mistake(fg.errors.ArgumentError)
def axes_for_too_few_arguments():
    """
    vmap got in_axes for 1 arguments, but 2 positional arguments; write: one axis for each argument
    """
    fg.vmap(lambda x, y: x + y, in_axes=(0,))(X, X)


@mistake(fg.errors.ShapeMismatchError)
def batch_of_a_number():
    """
    vmap was told to map argument 0 over axis 0, but it has 0 axes; write: in_axes=None for what is
    the same for all examples
    """
    fg.vmap(lambda x: x)(1.0)


@mistake(fg.errors.StaticArgumentError)
def list_as_a_static_argument():
    """
    jit needs hashable arguments where they are not arrays or numbers: unhashable type: 'list';
    write: a tuple instead of a list or set, or an array
    """
    fg.jit(lambda x, s: x, static_argnums=1)(1.0, [1, 2])


# --- arguments --------------------------------------------------------------------------------------


@mistake(fg.errors.NonDifferentiableInputError)
def integer():
    """
    grad needs floating-point (float or complex dtype) leaves to differentiate with respect to;
    argument 0 is 3 of type int; write: 1.0 for 1, x.astype(float) for an array of int or bool,
    fg.tree.register for a class of your own, and leave other things out of what to differentiate:
    argnums=
    """
    fg.grad(lambda x: x * x)(3)


@mistake(fg.errors.NonDifferentiableInputError)
def integers():
    """
    grad needs floating-point (float or complex dtype) leaves to differentiate with respect to;
    argument 0 is an array of dtype int64; write: 1.0 for 1, x.astype(float) for an array of int or
    bool, fg.tree.register for a class of your own, and leave other things out of what to
    differentiate: argnums=
    """
    fg.grad(lambda x: np.sum(x * x))(np.arange(3))


@mistake(fg.errors.TracerConversionError)
def list_of_numbers():
    """
    a traced value of shape () was to become a plain array, which would lose its derivative; write:
    np.stack([x, y]) or np.array([x, y], like=x) for np.array([x, y]), np.sum(np.stack(numbers)) for
    np.sum(numbers), and give np.array([1.0, 2.0]), not the list, to the transformed function
    """
    fg.grad(lambda x: np.sum(x))([1.0, 2.0])


@mistake(fg.errors.StaticArgumentError)
def set_of_numbers():
    """
    jit needs hashable arguments where they are not arrays or numbers: unhashable type: 'set';
    write: a tuple instead of a list or set, or an array
    """
    fg.jit(lambda x: x)({1.0})


@mistake(fg.errors.InputTypeError)
def matrix():
    """
    a value of type numpy.matrix can't be part of a traced program; write: np.asarray(value) for an
    array of its numbers
    """
    fg.jit(lambda x: x * x)(np.eye(2).view(np.matrix))


@mistake(fg.errors.InputTypeError)
def masked_array():
    """
    a value of type numpy.ma.MaskedArray can't be part of a traced program; write: np.asarray(value)
    for an array of its numbers
    """
    fg.grad(lambda x: np.sum(x * x))(np.ma.masked_array(X))


@mistake(fg.errors.InputTypeError)
def objects():
    """
    an array of dtype object can't be part of a traced program; write: an array of booleans,
    integers, floats or complex numbers
    """
    fg.grad(lambda x: np.sum(x))(np.array([1.0, None], dtype=object))


@mistake(fg.errors.InputTypeError)
def strings():
    """
    an array of dtype <U1 can't be part of a traced program; write: an array of booleans, integers,
    floats or complex numbers
    """
    fg.jit(lambda x: x)(np.array(["a", "b"]))


@mistake(fg.errors.NonDifferentiableInputError)
def object_of_a_class():
    """
    grad needs floating-point (float or complex dtype) leaves to differentiate with respect to;
    argument 0 is Model() of type Model; write: 1.0 for 1, x.astype(float) for an array of int or
    bool, fg.tree.register for a class of your own, and leave other things out of what to
    differentiate: argnums=
    """

    class Model:
        w = 1.0

        def __repr__(self):
            return "Model()"

    fg.grad(lambda m: m.w**2)(Model())


# --- results ----------------------------------------------------------------------------------------


@mistake(fg.errors.NonScalarOutputError)
def array_as_a_loss():
    """
    grad needs a function that returns a scalar, but the result has shape (3,); write:
    np.sum(result) or np.mean(result), or fg.jacobian for all derivatives
    """
    fg.grad(lambda x: x * x)(X)


@mistake(fg.errors.NonScalarOutputError)
def array_of_one_as_a_loss():
    """
    grad needs a function that returns a scalar, but the result has shape (1,); write:
    np.sum(result) or np.mean(result), or fg.jacobian for all derivatives
    """
    fg.grad(lambda x: x**2)(np.array([3.0]))


@mistake(fg.errors.OutputTypeError)
def forgotten_return():
    """
    grad needs a function that returns one scalar (a float), but it returned None (is a `return`
    missing?); write: return the loss alone, or (loss, aux) with has_aux=True
    """

    def f(x):
        x * x

    fg.grad(f)(1.0)


@mistake(fg.errors.OutputTypeError)
def aux_without_has_aux():
    """
    grad needs a function that returns one scalar (a float), but it returned a tuple; write: return
    the loss alone, or (loss, aux) with has_aux=True
    """
    fg.grad(lambda x: (x * x, x))(1.0)


@mistake(fg.errors.OutputTypeError)
def has_aux_without_aux():
    """
    with has_aux=True the function must return (result, aux), but it returned one array, float64*[];
    write: return result, aux
    """
    fg.grad(lambda x: x * x, has_aux=True)(1.0)


@mistake(fg.errors.OutputTypeError)
def loss_in_a_list():
    """
    grad needs a function that returns one scalar (a float), but it returned a list; write: return
    the loss alone, or (loss, aux) with has_aux=True
    """
    fg.grad(lambda x: [x * x])(1.0)


@mistake(fg.errors.OutputTypeError)
def loss_in_a_dict():
    """
    grad needs a function that returns one scalar (a float), but it returned a dict; write: return
    the loss alone, or (loss, aux) with has_aux=True
    """
    fg.grad(lambda x: {"loss": x})(1.0)


@mistake(fg.errors.OutputTypeError)
def truth_value_as_a_loss():
    """
    grad needs a function that returns one scalar (a float), but it returned bool*[], whose
    derivative is zero or does not exist; write: a loss that is floating-point, such as np.where(x >
    0, 1.0, 0.0) for x > 0
    """
    fg.grad(lambda x: x > 0)(1.0)


@mistake(fg.errors.OutputTypeError)
def index_as_a_loss():
    """
    grad needs a function that returns one scalar (a float), but it returned int64[], whose
    derivative is zero or does not exist; write: a loss that is floating-point, such as np.where(x >
    0, 1.0, 0.0) for x > 0
    """
    fg.grad(lambda x: np.argmax(x))(X)


@mistake(fg.errors.ComplexOutputError)
def complex_loss():
    """
    grad needs a function with real results, but one is complex128*[]; write: np.abs(result) or
    np.real(result), holomorphic=True for a holomorphic function, or fg.jacfwd for a complex
    function of real arguments
    """
    fg.grad(lambda z: z**2)(1 + 1j)


@mistake(fg.errors.NonScalarOutputError)
def second_derivative_by_grad_twice():
    """
    grad needs a function that returns a scalar, but the result has shape (3,); write:
    np.sum(result) or np.mean(result), or fg.jacobian for all derivatives
    """
    fg.grad(fg.grad(lambda x: np.sum(x * x)))(X)


# --- out of the program -----------------------------------------------------------------------------


@mistake(fg.errors.ConcretizationError)
def math_function():
    """
    float() (or a function of `math`, or a[i] = x) would take float64*[] out of the program that is
    being differentiated, and its derivative would be lost; write: np.sin(x) for math.sin(x),
    np.stack([x, y]) for a[i] = x, or fg.stop_gradient(x) where the dependence is to be ignored
    """
    fg.grad(lambda x: math.sin(x))(1.0)


@mistake(fg.errors.ConcretizationError)
def float_of_x():
    """
    float() (or a function of `math`, or a[i] = x) would take float64*[] out of the program that is
    being differentiated, and its derivative would be lost; write: np.sin(x) for math.sin(x),
    np.stack([x, y]) for a[i] = x, or fg.stop_gradient(x) where the dependence is to be ignored
    """
    fg.grad(lambda x: float(x) ** 2)(1.0)


@mistake(fg.errors.ConcretizationError)
def item_of_x():
    """
    .item() would take float64[] out of the program that is being differentiated, and its derivative
    would be lost; write: np.sin(x) for math.sin(x), np.stack([x, y]) for a[i] = x, or
    fg.stop_gradient(x) where the dependence is to be ignored
    """
    fg.grad(lambda x: x[0].item() * 2)(X)


@mistake(fg.errors.TracerConversionError)
def array_of_entries():
    """
    a traced value of shape () was to become a plain array, which would lose its derivative; write:
    np.stack([x, y]) or np.array([x, y], like=x) for np.array([x, y]), np.sum(np.stack(numbers)) for
    np.sum(numbers), and give np.array([1.0, 2.0]), not the list, to the transformed function
    """
    fg.grad(lambda x: np.sum(np.array([x[0], x[1]])))(X)


@mistake(fg.errors.TracerConversionError)
def array_of_x():
    """
    a traced value of shape (3,) was to become a plain array, which would lose its derivative;
    write: np.stack([x, y]) or np.array([x, y], like=x) to build an array, np.hstack([x, y]) for
    np.r_[x, y], a @ x for a.dot(x), np.asarray(a, like=x)[x] for a[x], fg.vmap(f)(x) for
    np.vectorize(f)(x), x for np.asarray(x)
    """
    fg.grad(lambda x: np.sum(np.array(x)))(X)


@mistake(fg.errors.TracerConversionError)
def sum_of_a_list():
    """
    a traced value of shape () was to become a plain array, which would lose its derivative; write:
    np.stack([x, y]) or np.array([x, y], like=x) for np.array([x, y]), np.sum(np.stack(numbers)) for
    np.sum(numbers), and give np.array([1.0, 2.0]), not the list, to the transformed function
    """
    fg.grad(lambda x: np.sum([t * t for t in x]))(X)


@mistake(fg.errors.TracerConversionError)
def vectorize():
    """
    np.vectorize makes a plain array of a traced value of shape (3,), which would lose its
    derivative: it runs Python for every entry, on plain numbers; write: the function itself on
    arrays, np.where for its branches, or fg.vmap(f)(x)
    """
    fg.grad(lambda x: np.sum(np.vectorize(lambda t: t * t)(x)))(X)


@mistake(fg.errors.TracerIdentityError)
def key_of_a_dict():
    """a traced value is unhashable, as arrays are; write: a list for a set"""
    fg.jit(lambda x: {x: 1})(1.0)


@mistake(TypeError, here=False)
def json_of_x():
    """Object of type Tracer is not JSON serializable"""
    fg.grad(lambda x: json.dumps(x))(1.0)


@mistake(fg.errors.TracerIdentityError)
def pickle_of_x():
    """a traced value can't be pickled; compute its value first: return it"""
    fg.grad(lambda x: pickle.dumps(x))(1.0)


@mistake(fg.errors.EscapedTracerError)
def state_that_stays():
    """
    a traced value (float64[3]) is used after the function it belongs to has finished: it escaped
    from its trace; write: return it from the function (has_aux=True where it is not the result)
    instead of storing it outside
    """
    kept = []
    fg.grad(lambda x: kept.append(x) or np.sum(x))(X)
    kept[0] + 1


# --- writing ----------------------------------------------------------------------------------------


@mistake(fg.errors.TracerMutationError)
def assignment():
    """
    x[index] = value would write into a traced value of shape (3,), which is immutable; write: x =
    fg.at(x)[index].set(value)
    """

    def f(x):
        x[0] = 1.0
        return np.sum(x)

    fg.grad(f)(X)


@mistake(fg.errors.ConcretizationError)
def entries_of_a_plain_array():
    """
    float() (or a function of `math`, or a[i] = x) would take float64[] out of the program that is
    being differentiated, and its derivative would be lost; write: np.sin(x) for math.sin(x),
    np.stack([x, y]) for a[i] = x, or fg.stop_gradient(x) where the dependence is to be ignored
    """

    def f(x):
        a = np.zeros(3)
        for i in range(3):
            a[i] = x[i] ** 2
        return np.sum(a)

    fg.grad(f)(X)


@mistake(fg.errors.ArrayMutationError)
def sum_in_a_plain_array():
    """
    np.add was told to write a traced value into an array; traced programs are pure: write `result =
    np.add(...)` without out=, and `a = a + x` for `a += x`
    """

    def f(x):
        total = np.zeros(3)
        for _ in range(2):
            total += x
        return np.sum(total)

    fg.grad(f)(X)


@mistake(fg.errors.ArrayMutationError)
def out():
    """
    np.exp was told to write a traced value into an array; traced programs are pure: write `result =
    np.exp(...)` without out=, and `a = a + x` for `a += x`
    """
    fg.grad(lambda x: np.sum(np.exp(x, out=np.zeros(3))))(X)


@mistake(fg.errors.TracerMutationError)
def sort_in_place():
    """
    x.sort() would write into a traced value of shape (3,), which is immutable; write: x =
    np.sort(x)
    """
    fg.grad(lambda x: x.sort() or np.sum(x))(X)


# --- conditions -------------------------------------------------------------------------------------


@mistake(fg.errors.TruthValueError)
def condition_on_an_array():
    """
    the truth value of an array of shape (3,) is ambiguous; write: np.where(condition, a, b),
    np.maximum(x, 0) for max(x, 0), np.logical_and(a, b) for `a and b`, or condition.any() or
    condition.all()
    """
    fg.grad(lambda x: np.sum(x) if x > 0 else 0.0)(X)


@mistake(fg.errors.TruthValueError)
def max_of_an_array_and_a_number():
    """
    the truth value of an array of shape (3,) is ambiguous; write: np.where(condition, a, b),
    np.maximum(x, 0) for max(x, 0), np.logical_and(a, b) for `a and b`, or condition.any() or
    condition.all()
    """
    fg.grad(lambda x: np.sum(max(x, 0)))(X)


@mistake(fg.errors.ConcretizationError)
def condition_under_vmap():
    """
    a Python condition (if, while, and, or, not, bool) needs the value of bool[], which differs by
    example under vmap (or is not known while a rule runs); write: np.where(condition, a, b), or
    fg.cond(condition, f, g, x)
    """
    fg.vmap(lambda x: x if x.any() else -x)(np.ones((2, 3)))


@mistake(fg.errors.ConcretizationError)
def max_under_vmap():
    """
    a Python condition (if, while, and, or, not, bool) needs the value of bool[], which differs by
    example under vmap (or is not known while a rule runs); write: np.where(condition, a, b), or
    fg.cond(condition, f, g, x)
    """
    fg.vmap(lambda x: max(x, 0))(X)


@mistake(fg.errors.ConcretizationError)
def sorted_under_vmap():
    """
    a Python condition (if, while, and, or, not, bool) needs the value of bool[], which differs by
    example under vmap (or is not known while a rule runs); write: np.where(condition, a, b), or
    fg.cond(condition, f, g, x)
    """
    fg.vmap(lambda x: sorted([x[2], x[0]])[0])(np.ones((2, 3)))


# --- habits of other libraries ----------------------------------------------------------------------


@mistake(fg.errors.TracerAttributeError)
def numpy_method():
    """
    a traced value of shape (3,) is like a NumPy array, which has no .numpy; write: x; it takes
    NumPy's functions
    """
    fg.grad(lambda x: np.sum(x.numpy()))(X)


@mistake(fg.errors.TracerAttributeError)
def detach():
    """
    a traced value of shape (3,) is like a NumPy array, which has no .detach; write:
    fg.stop_gradient(x)
    """
    fg.grad(lambda x: np.sum(x.detach()))(X)


@mistake(fg.errors.TracerAttributeError)
def backward():
    """
    a traced value of shape () is like a NumPy array, which has no .backward; write: fg.grad(f)(x),
    which gives the gradient of f at x
    """
    fg.grad(lambda x: np.sum(x * x).backward())(X)


@mistake(fg.errors.TracerAttributeError)
def grad_attribute():
    """
    a traced value of shape (3,) is like a NumPy array, which has no .grad; write: fg.grad(f)(x),
    which gives the gradient of f at x
    """
    fg.grad(lambda x: np.sum(x.grad))(X)


@mistake(fg.errors.TracerAttributeError)
def at_property():
    """
    a traced value of shape (3,) is like a NumPy array, which has no .at; write:
    fg.at(x)[index].set(value)
    """
    fg.grad(lambda x: np.sum(x.at[0].set(1.0)))(X)


@mistake(fg.errors.TracerAttributeError)
def unsqueeze():
    """
    a traced value of shape (3,) is like a NumPy array, which has no .unsqueeze; write:
    np.expand_dims(x, axis), or x[:, None]
    """
    fg.grad(lambda x: np.sum(x.unsqueeze(0)))(X)


@mistake(fg.errors.TracerAttributeError)
def misspelt_method():
    """a traced value of shape (3,) is like a NumPy array, which has no .summ; write: x.sum"""
    fg.grad(lambda x: x.summ())(X)


@mistake(AttributeError, here=False)
def requires_grad():
    """'Tracer' object has no attribute 'requires_grad'"""

    def f(x):
        x.requires_grad = True
        return np.sum(x)

    fg.grad(f)(X)


@mistake(AttributeError, here=False)
def module_of_functions():
    """
    module 'fungrad' has no attribute 'numpy'; write: import numpy as np, NumPy's own works on
    traced values
    """
    fg.numpy.sin(1.0)


@mistake(AttributeError, here=False)
def function_of_numpy():
    """
    module 'fungrad' has no attribute 'sin'; write: np.sin, NumPy's own works on traced values
    """
    fg.sin(1.0)


@mistake(fg.errors.InputTypeError)
def draw_without_a_key():
    """
    a draw needs a key, not a int; write: key = fg.random.key(0), once, and fg.random.split(key)
    where several draws need one each
    """
    fg.random.normal(0, (3,))


# --- shapes -----------------------------------------------------------------------------------------


@mistake(fg.errors.ShapeMismatchError)
def shapes_of_a_product():
    """
    matmul: shapes (3,) and (4, 2) do not go together; write: a last axis of the first operand as
    long as the second operand's last but one (or only) axis
    """
    fg.grad(lambda w: np.sum(X @ w))(np.ones((4, 2)))


@mistake(fg.errors.ShapeMismatchError)
def shapes_of_a_sum():
    """
    add: operands of shapes (3,) and (4,) do not broadcast; write: shapes that agree from the last
    axis backwards, or have 1 there
    """
    fg.grad(lambda w: np.sum(X + w))(np.ones(4))


@mistake(fg.errors.ShapeMismatchError)
def reshape():
    """
    reshape: 3 entries of shape (3,) can't take the shape (2, 2); write: a shape with the same
    number of entries, -1 in one place at most
    """
    fg.grad(lambda x: np.sum(x.reshape(2, 2)))(X)


@mistake(np.exceptions.AxisError)
def axis_that_is_not_there():
    """axis 1 is out of bounds for array of dimension 1"""
    fg.grad(lambda x: np.sum(np.sum(x, axis=1)))(X)


@mistake(IndexError)
def index_beyond_the_end():
    """index 7 is out of bounds for axis 0 with size 3"""
    fg.grad(lambda x: x[7])(X)


@mistake(ValueError)
def concatenate_numbers():
    """zero-dimensional arrays cannot be concatenated; write: np.stack"""
    fg.grad(lambda x: np.sum(np.concatenate([x[0], x[1]])))(X)


# --- optimizers -------------------------------------------------------------------------------------


@mistake(TypeError, here=False)
def optimizer_without_parameters():
    """sgd() missing 1 required positional argument: 'learning_rate'"""
    fg.optim.sgd(0.1)


@mistake(fg.errors.InputTypeError)
def rate_as_text():
    """learning_rate must be a real number, but is '0.1'; write: 0.1"""
    fg.optim.sgd(PARAMS, learning_rate="0.1")


@mistake(fg.errors.InputTypeError)
def rate_of_none():
    """learning_rate must be a real number, but is None; write: 0.1"""
    fg.optim.adam(PARAMS, learning_rate=None)


@mistake(fg.errors.ShapeMismatchError)
def several_rates():
    """
    learning_rate must be one number, but has shape (2,); write: fg.vmap over a function that makes
    the optimizer, to try several
    """
    fg.optim.adam(PARAMS, learning_rate=np.array([0.1, 0.2]))


@mistake(TypeError, here=False)
def update_without_gradients():
    """Optimizer.update() missing 1 required positional argument: 'grads'"""
    fg.optim.sgd(PARAMS, learning_rate=0.1).update(PARAMS)


@mistake(fg.errors.TreeMismatchError)
def gradients_of_another_structure():
    """grads must have the structure of params, but params has not, and grads has the key 'v'."""
    fg.optim.sgd(PARAMS, learning_rate=0.1).update(PARAMS, {"v": np.ones(3)})


@mistake(fg.errors.ShapeMismatchError)
def gradients_of_another_shape():
    """
    grads['w'] has shape (4,), but params['w'] has shape (3,); write: the gradients that fg.grad
    returned for these parameters, and an optimizer that was made for them
    """
    fg.optim.sgd(PARAMS, learning_rate=0.1).update(PARAMS, {"w": np.ones(4)})


@mistake(fg.errors.NonDifferentiableInputError)
def integers_as_parameters():
    """
    an optimizer moves floating-point numbers, but params['w'] is of dtype int64; write: 1.0 for 1,
    x.astype(float) for an array of integers; keep other things out of params, or in fields that are
    declared static
    """
    fg.optim.adam({"w": np.arange(3)}, learning_rate=0.1)


@mistake(AttributeError, here=False)
def zero_grad():
    """'Sgd' object has no attribute 'zero_grad'"""
    fg.optim.sgd(PARAMS, learning_rate=0.1).zero_grad()


# --- mistakes that no library can see ---------------------------------------------------------------


def test_what_an_update_returns_must_be_taken():
    opt = fg.optim.sgd(PARAMS, learning_rate=0.1)
    opt.update(PARAMS, PARAMS)
    assert PARAMS["w"].tolist() == [1.0, 1.0, 1.0]


def test_draws_of_numpy_are_frozen_by_jit():
    f = fg.jit(lambda x: x + np.random.default_rng().normal())
    assert f(1.0) == f(1.0)


def test_printing_shows_what_is_traced():
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        fg.grad(lambda x: print(x) or np.sum(x))(X)
    assert shown.getvalue() == "Tracer<float64[3]>\n"


def test_traced_values_are_no_ndarrays():
    fg.jit(lambda x: (not isinstance(x, np.ndarray) or 1 / 0, x)[1])(X)


def test_the_order_of_value_and_grad():
    value, gradient = fg.value_and_grad(lambda x: np.sum(x))(X)
    assert value == 6.0
    assert gradient.tolist() == [1.0, 1.0, 1.0]


def test_what_looks_like_a_mistake_and_works():
    x = np.array([3.0, 1.0])
    assert fg.grad(lambda x: sum([t * t for t in x]))(x).tolist() == [6.0, 2.0]
    assert fg.grad(lambda x: max(x[0], 0) + min(x))(x).tolist() == [1.0, 1.0]
    assert fg.grad(lambda x: sorted(x)[0])(x).tolist() == [0.0, 1.0]
    assert fg.grad(lambda x: np.sum(x) if x[0] > 0 else 0.0)(x).tolist() == [1.0, 1.0]
    assert fg.jit(lambda n: np.zeros(n))(3).tolist() == [0.0, 0.0, 0.0]
    assert fg.jit(lambda x, mode: x if mode == "a" else -x)(1.0, "b") == -1.0

    def total(x):
        y = x
        y += 1.0
        return np.sum(y * y)

    assert fg.grad(total)(x).tolist() == [8.0, 4.0]


def test_scipys_optimizers_take_gradients():
    from scipy.optimize import minimize

    loss = lambda x: np.sum((x - 1.0) ** 2)
    for start in (X, [0.0, 2.0]):
        assert np.allclose(minimize(loss, start, jac=fg.grad(loss)).x, 1.0)
        assert np.allclose(minimize(fg.jit(fg.value_and_grad(loss)), start, jac=True).x, 1.0)
