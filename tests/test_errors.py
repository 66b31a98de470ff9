"""Bad input: each mistake raises the right class, says what to write, and breaks nothing."""

import cmath
import copy
import inspect
import linecache
import math
import operator
import pickle
import random
import re
import statistics

import numpy as np
import pytest
import scipy.sparse
import scipy.special
from numpy.testing import assert_allclose

import fungrad as fg
from fungrad import errors
from fungrad._primitive import ZERO, Unwritten, elementwise, primitive
from fungrad.errors import (
    ArgumentError,
    ArrayMutationError,
    BranchError,
    CallbackError,
    CarryError,
    ComplexInputError,
    ComplexOutputError,
    ConcretizationError,
    ConvergenceError,
    CotangentError,
    EscapedTracerError,
    FungradError,
    GraphFormatError,
    IncompletePrimitiveError,
    InputTypeError,
    IntegrationError,
    MemoryLayoutError,
    NonDifferentiableInputError,
    NonFiniteError,
    NonScalarOutputError,
    OutputTypeError,
    PredicateError,
    RandomDrawError,
    ShapeMismatchError,
    StaticArgumentError,
    TracerAttributeError,
    TracerConversionError,
    TracerIdentityError,
    TracerMutationError,
    TreeMismatchError,
    TruthValueError,
    UnsupportedFunctionError,
)
from tests._versions import NUMPY

ONES = np.ones(3)
BASES = {
    NonDifferentiableInputError: TypeError,
    NonScalarOutputError: TypeError,
    ComplexOutputError: TypeError,
    ComplexInputError: TypeError,
    OutputTypeError: TypeError,
    InputTypeError: TypeError,
    UnsupportedFunctionError: NotImplementedError,
    ShapeMismatchError: ValueError,
    TracerConversionError: TypeError,
    TracerMutationError: TypeError,
    ArrayMutationError: TypeError,
    ConcretizationError: TypeError,
    EscapedTracerError: RuntimeError,
    MemoryLayoutError: AttributeError,
    RandomDrawError: RuntimeError,
    TracerIdentityError: TypeError,
    TreeMismatchError: ValueError,
    CotangentError: ValueError,
    ArgumentError: TypeError,
    StaticArgumentError: TypeError,
    BranchError: TypeError,
    CallbackError: ValueError,
    ConvergenceError: ArithmeticError,
    CarryError: TypeError,
    PredicateError: TypeError,
    IntegrationError: ArithmeticError,
    NonFiniteError: FloatingPointError,
    TracerAttributeError: AttributeError,
    TruthValueError: ValueError,
    GraphFormatError: ValueError,
    IncompletePrimitiveError: TypeError,
}


def classes_of_the_module():
    """The exceptions; what is only warned of has tests of its own."""
    return {
        cls
        for cls in vars(errors).values()
        if isinstance(cls, type)
        and issubclass(cls, Exception)
        and not issubclass(cls, Warning)
        and cls.__module__ == errors.__name__
    }


# --- the classes ---------------------------------------------------------------------------------


def test_the_tree_of_classes():
    assert classes_of_the_module() == {FungradError, *BASES}
    for cls, builtin in BASES.items():
        assert issubclass(cls, FungradError)
        assert issubclass(cls, builtin), f"{cls.__name__} is no {builtin.__name__}"
    assert not issubclass(FungradError, (TypeError, ValueError, RuntimeError))


@pytest.mark.parametrize("cls", sorted(BASES, key=lambda cls: cls.__name__))
def test_docstring_shows_failing_and_fixed_code(cls):
    text = inspect.getdoc(cls)
    fails, write = text.index("Fails: "), text.index("Write: ")
    assert 0 < fails < write
    assert "``" in text[fails:write]
    assert "``" in text[write:]


def test_errors_survive_pickling():
    with pytest.raises(ShapeMismatchError) as info:
        fg.grad(lambda x: np.sum(x + np.ones(4)))(ONES)
    again = pickle.loads(pickle.dumps(info.value))
    assert type(again) is ShapeMismatchError
    assert str(again) == str(info.value)


# --- the cases -----------------------------------------------------------------------------------

CASES = []


def raises(error, *words, here=True):
    """Declare a function that must raise ``error``, with ``words`` in its message.

    ``here``: the message must name the offending line of the function itself.
    """

    def declare(function):
        name = f"{function.__name__}-{error.__name__}"
        CASES.append(pytest.param(function, error, words, here, id=name))
        return function

    return declare


def run_healthy():
    """Right answers of every transform: whatever failed before has left nothing behind."""
    f = lambda x: np.sum(np.sin(x) ** 2)
    x = np.array([0.3, -1.2, 2.0])
    assert_allclose(fg.grad(f)(x), np.sin(2 * x), rtol=1e-13)
    assert_allclose(fg.jit(fg.grad(f))(x), np.sin(2 * x), rtol=1e-13)
    assert_allclose(fg.vmap(fg.grad(lambda x: np.sin(x) ** 2))(x), np.sin(2 * x), rtol=1e-13)
    assert_allclose(fg.jvp(f, (x,), (x,))[1], np.sum(x * np.sin(2 * x)), rtol=1e-13)
    assert_allclose(fg.hessian(f)(x), np.diag(2 * np.cos(2 * x)), rtol=1e-13, atol=1e-15)
    assert fg.grad(lambda x: x * fg.grad(lambda y: x**3 * y)(5.0))(2.0) == 32.0


@pytest.mark.parametrize(("function", "error", "words", "here"), CASES)
def test_bad_input(function, error, words, here):
    with pytest.raises(error) as info:
        function()
    raised, text = info.value, str(info.value)
    assert type(raised) is error
    assert isinstance(raised, FungradError)
    for word in words:
        assert word in text, f"{word!r} is not in {text!r}"
    place = text.partition("\n  at ")[2]
    assert place, f"no user line in {text!r}"
    where, _, source = place.partition("\n")
    file, number = where.partition(", in ")[0].rsplit(":", 1)
    lines, start = inspect.getsourcelines(function)
    if here:
        assert file == __file__
        assert start <= int(number) < start + len(lines)
        assert source.strip() == linecache.getline(__file__, int(number)).strip()
        assert source.strip()
    run_healthy()


def in_grad(f, x=ONES):
    return fg.grad(lambda x: np.sum(f(x)))(x)


# --- arguments to differentiate ------------------------------------------------------------------


@raises(NonDifferentiableInputError, "grad", "3", "int", "1.0")
def integer():
    fg.grad(lambda x: x * x)(3)


@raises(NonDifferentiableInputError, "True", "bool", "float")
def boolean():
    fg.grad(lambda x: x * x)(True)


@raises(NonDifferentiableInputError, "int64", "astype(float)")
def integer_array():
    fg.grad(lambda x: np.sum(x))(np.array([1, 2]))


@raises(NonDifferentiableInputError, "bool", "astype(float)")
def boolean_array():
    fg.value_and_grad(lambda x: np.sum(x))(np.array([True, False]))


@raises(NonDifferentiableInputError, "['n'][1]", "5", "argnums")
def integer_leaf_of_a_tree():
    fg.grad(lambda p: p["w"])({"w": 1.0, "n": (1.0, 5)})


@raises(NonDifferentiableInputError, "argument 1", "'adam'", "str")
def string_argument():
    fg.grad(lambda x, name: x, argnums=(0, 1))(1.0, "adam")


@raises(NonDifferentiableInputError, "jacobian")
def integers_to_jacobian():
    fg.jacobian(lambda x: x)(np.arange(3))


@raises(NonDifferentiableInputError, "int64", "astype(float)")
def integers_to_hessian():
    fg.hessian(lambda x: np.sum(x))(np.arange(3))


@raises(NonDifferentiableInputError, "vjp")
def integers_to_vjp():
    fg.vjp(lambda x: x, 1)


@raises(NonDifferentiableInputError, "jvp")
def integers_to_jvp():
    fg.jvp(lambda x: x, (1,), (1.0,))


@raises(NonDifferentiableInputError, "int64")
def traced_integers():
    fg.jit(lambda n: fg.grad(lambda x: x * x)(n))(3)


# --- results -------------------------------------------------------------------------------------


@raises(NonScalarOutputError, "(3,)", "np.sum", "jacobian")
def array_result():
    fg.grad(lambda x: x * 2)(ONES)


@raises(NonScalarOutputError, "(1,)", "value_and_grad")
def array_result_of_one_entry():
    fg.value_and_grad(lambda x: x * 2)(np.ones(1))


@raises(ComplexOutputError, "complex128", "np.abs", "np.real")
def complex_result():
    fg.grad(lambda x: x * 1j)(1.0)


@raises(ComplexInputError, "jacfwd", "complex128", "holomorphic=True")
def complex_argument():
    fg.jacfwd(lambda z: z * 1j)(1j)


@raises(OutputTypeError, "str", "scalar")
def string_result():
    fg.grad(lambda x: "no")(1.0)


@raises(OutputTypeError, "scalar", "has_aux=True")
def no_result():
    fg.grad(lambda x: None)(1.0)


@raises(OutputTypeError, "scalar", "has_aux=True")
def tuple_result():
    fg.grad(lambda x: (x, x))(1.0)


@raises(OutputTypeError, "scalar", "has_aux=True")
def tuple_of_one_result():
    fg.grad(lambda x: (x,))(1.0)


@raises(OutputTypeError, "scalar")
def dict_result():
    fg.value_and_grad(lambda x: {"loss": x})(1.0)


@raises(OutputTypeError, "has_aux=True", "return result, aux")
def no_aux():
    fg.grad(lambda x: x, has_aux=True)(1.0)


@raises(OutputTypeError, "has_aux=True", "return result, aux")
def too_much_aux():
    fg.value_and_grad(lambda x: (x, 1, 2), has_aux=True)(1.0)


@raises(OutputTypeError, "has_aux=True", "return result, aux")
def aux_in_a_list():
    fg.vjp(lambda x: [x, 1], 1.0, has_aux=True)


# --- functions without a rule --------------------------------------------------------------------


@raises(UnsupportedFunctionError, "np.packbits")
def unknown_function():
    in_grad(lambda x: np.packbits(x))


if NUMPY >= (2, 3):  # before, np.strings asks nobody else

    @raises(UnsupportedFunctionError, "np.strings.upper")
    def unknown_function_of_a_submodule():
        in_grad(lambda x: np.strings.upper(x))


@raises(UnsupportedFunctionError, "np.isnat")
def unknown_ufunc():
    fg.jit(lambda x: np.isnat(x))(ONES)


@raises(UnsupportedFunctionError, "scipy.special.mathieu_a")
def unknown_scipy_function():
    in_grad(lambda x: scipy.special.mathieu_a(x, x))


@raises(UnsupportedFunctionError, "np.packbits")
def unknown_function_under_vmap():
    fg.vmap(lambda x: np.packbits(x))(np.ones((2, 3)))


@raises(UnsupportedFunctionError, "np.power.reduce", "np.power.accumulate")
def ufunc_method_that_numpy_gets_wrong():
    in_grad(lambda x: np.power.reduce(x))


@raises(RandomDrawError, "np.random", "fg.random.normal(key", here=False)
def draws_of_numpy():
    fg.jit(lambda x: x + np.random.normal())(1.0)  # noqa: NPY002


@raises(MemoryLayoutError, ".flags", "in memory")
def memory_layout():
    in_grad(lambda x: x.flags.c_contiguous)


@raises(UnsupportedFunctionError, "np.add", "where=", "np.where(")
def masked_ufunc():
    in_grad(lambda x: np.add(x, 1.0, where=x > 0))


@raises(UnsupportedFunctionError, "np.add", "where=", "np.where(")
def ufunc_masked_by_a_traced_value():
    in_grad(lambda x: np.add(ONES, 1.0, where=x > 0))


@raises(UnsupportedFunctionError, "np.sum", "flavour")
def unknown_keyword():
    in_grad(lambda x: x.sum(flavour="sweet"))


# --- shapes --------------------------------------------------------------------------------------


@raises(ShapeMismatchError, "add", "(3,)", "(4,)")
def shapes_of_a_sum():
    in_grad(lambda x: x + np.ones(4))


@raises(ShapeMismatchError, "multiply", "(2, 1, 3)", "(4, 2)")
def shapes_of_a_product():
    fg.jit(lambda x, y: y * x)(np.ones((4, 2)), np.ones((2, 1, 3)))


@raises(ShapeMismatchError, "(2, 2)", "(3,)")
def shapes_of_matmul():
    in_grad(lambda x: np.ones((2, 2)) @ x)


@raises(ShapeMismatchError, "(3,)", "()")
def matmul_of_a_number():
    in_grad(lambda x: x @ 3.0)


@raises(ShapeMismatchError, "(2, 2)", "(3,)")
def shapes_of_dot():
    in_grad(lambda x: np.dot(np.ones((2, 2)), x))


@raises(ShapeMismatchError, "(2, 3, 3)", "(4, 3, 3)")
def batches_of_matmul():
    in_grad(lambda x: x @ np.ones((4, 3, 3)), np.ones((2, 3, 3)))


@raises(ShapeMismatchError, "(3,)", "(2, 2)")
def entries_of_a_reshape():
    in_grad(lambda x: x.reshape(2, 2))


@raises(ShapeMismatchError, "(3,)", "(2, 2)")
def ranks_of_concatenate():
    in_grad(lambda x: np.concatenate([x, np.ones((2, 2))]))


@raises(ShapeMismatchError, "(3,)", "(2,)")
def shapes_of_stack():
    in_grad(lambda x: np.stack([x, np.ones(2)]))


@raises(ShapeMismatchError, "(3,)", "(2, 2)")
def target_of_a_broadcast():
    in_grad(lambda x: np.broadcast_to(x, (2, 2)))


@raises(ShapeMismatchError, "where", "(3,)", "(4,)")
def shapes_of_where():
    in_grad(lambda x: np.where(x > 0, x, np.ones(4)))


@raises(ShapeMismatchError, "(3,)", "(4,)")
def axes_of_tensordot():
    in_grad(lambda x: np.tensordot(x, np.ones(4), 1))


def long_name(x):
    y = x * 2
    return (
        np.sin(y)
        + np.ones(5)
    )  # fmt: skip


def test_the_line_of_the_mismatch_is_named():
    """Not the line of the call of grad, but the innermost one of the user's."""
    with pytest.raises(ShapeMismatchError) as info:
        in_grad(long_name)
    _, start = inspect.getsourcelines(long_name)
    text = str(info.value)
    assert f"{__file__}:" in text
    number = int(text.partition(f"{__file__}:")[2].partition(",")[0])
    assert start + 1 < number <= start + 5
    assert "in long_name" in text
    assert info.value.location in text


# --- operands ------------------------------------------------------------------------------------


class Series:
    """Like a pandas Series: an array in disguise."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def __array__(self, dtype=None, copy=None):
        return self.values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        return self.values[index]


@raises(InputTypeError, "Series", "np.asarray")
def series():
    in_grad(lambda x: x + Series([1.0, 2.0, 3.0]))


@raises(InputTypeError, "Series", "np.asarray")
def series_on_the_left():
    in_grad(lambda x: Series([1.0, 2.0, 3.0]) * x)


@raises(InputTypeError, "Series")
def series_in_a_ufunc():
    in_grad(lambda x: np.maximum(Series([1.0, 2.0, 3.0]), x))


@raises(InputTypeError, "Series")
def series_in_a_function():
    in_grad(lambda x: np.where(x > 0, x, Series([1.0, 2.0, 3.0])))


@raises(InputTypeError, "matrix", "np.asarray")
def matrix():
    in_grad(lambda x: x @ np.eye(3).view(np.matrix))


@raises(InputTypeError, "matrix", "np.asarray")
def matrix_on_the_left():
    in_grad(lambda x: np.eye(3).view(np.matrix) * x)


@raises(InputTypeError, "MaskedArray", "np.asarray")
def masked_array():
    in_grad(lambda x: x + np.ma.masked_array([1.0, 2.0, 3.0], [0, 1, 0]))


@raises(TracerConversionError)
def masked_array_on_the_left():
    # np.ma converts the other operand itself, so that only its kind of refusal is in our hands
    in_grad(lambda x: np.ma.masked_array([1.0, 2.0, 3.0], [0, 1, 0]) + x)


@raises(InputTypeError, "csr_array", "np.asarray")
def sparse_array():
    in_grad(lambda x: x * scipy.sparse.csr_array(np.eye(3)))


@raises(InputTypeError, "object", "array")
def object_array():
    in_grad(lambda x: x + np.array([1, "a", None], object))


@raises(InputTypeError, "object")
def object_array_on_the_left():
    in_grad(lambda x: np.array([1, 2, 3], object) * x)


@raises(InputTypeError, "object")
def object_array_as_an_argument():
    fg.jit(lambda x: x)(np.array([1, 2, 3], object))


@raises(InputTypeError, "<U1")
def array_of_strings():
    in_grad(lambda x: x + np.array(["a", "b", "c"]))


@raises(InputTypeError, "datetime64")
def date():
    in_grad(lambda x: x + np.datetime64("2020-01-01"))


@raises(InputTypeError, "str")
def string():
    in_grad(lambda x: x + "a")


@raises(InputTypeError, "str")
def string_on_the_left():
    in_grad(lambda x: "a" * x)


@raises(InputTypeError, "NoneType")
def none():
    in_grad(lambda x: x * None)


@raises(InputTypeError, "NoneType")
def none_on_the_left():
    fg.jit(lambda x: None + x)(ONES)


@raises(InputTypeError, "dict")
def dictionary():
    in_grad(lambda x: x + {"a": 1.0})


@raises(InputTypeError, "str")
def stop_gradient_of_a_string():
    fg.stop_gradient({"name": "adam"})


# --- out of the program --------------------------------------------------------------------------


@raises(TracerConversionError, "np.stack", "like=")
def array_of_tracers():
    in_grad(lambda x: np.array([x[0], x[1]]))


@raises(TracerConversionError, "np.stack")
def array_of_arrays():
    fg.jit(lambda x: np.array([x, x]))(ONES)


@raises(TracerConversionError, "np.stack")
def function_of_a_list():
    in_grad(lambda x: np.max([x[0], x[1]]))


@raises(TracerConversionError, "np.stack")
def operator_with_a_list():
    in_grad(lambda x: x + [x[0], x[1], 2.0])


@raises(TracerConversionError, "np.asarray(x)")
def asarray():
    in_grad(lambda x: np.asarray(x))


@raises(TracerConversionError, "a @ x")
def dot_method_of_an_array():
    in_grad(lambda x: np.eye(3).dot(x))


@raises(TracerConversionError, "a[x]")
def traced_index_of_an_array():
    in_grad(lambda x: np.arange(3.0)[x.astype(int)])


@raises(TracerConversionError, "a[x]")
def traced_mask_of_an_array():
    fg.jit(lambda x: np.arange(3.0)[x > 0])(ONES)


@raises(TracerConversionError)
def full():
    in_grad(lambda x: np.full(3, x[0]))


@raises(TracerConversionError)
def random_draw():
    in_grad(lambda x: np.random.default_rng(0).normal(x))


@raises(TracerConversionError)
def sparse_product():
    in_grad(lambda x: scipy.sparse.csr_array(np.eye(3)) @ x)


def test_the_remedies_for_arrays_of_tracers_work():
    x = np.array([1.0, 2.0, 3.0])
    stack = lambda x: np.sum(np.stack([x[0], x[1]]) ** 2)
    like = lambda x: np.sum(np.array([x[0], x[1], 5.0], like=x) ** 2)
    assert fg.grad(stack)(x).tolist() == fg.grad(like)(x).tolist() == [2.0, 4.0, 0.0]


def test_the_remedy_for_a_traced_index_works():
    """NumPy does not dispatch ``np.take(a, x)`` on the index; ``like=`` brings ``a`` to x."""
    a = np.array([3.0, 4.0, 5.0])
    f = lambda x: np.sum(np.asarray(a, like=x)[x.astype(int)] * x)
    assert fg.grad(f)(np.array([2.0, 0.0])).tolist() == [5.0, 3.0]
    with pytest.raises(TracerConversionError) as info:
        traced_index_of_an_array()
    assert "np.take(a, x" not in str(info.value)


@pytest.mark.parametrize("f", [np.sort, lambda x: np.partition(x, 1)], ids=["sort", "partition"])
def test_the_remedies_for_mutating_methods_work(f):
    x = np.array([3.0, 1.0, 2.0])
    assert fg.jit(f)(x).tolist() == f(x).tolist()


@raises(ConcretizationError, "np.sin", "stop_gradient")
def math_function():
    fg.grad(lambda x: math.sin(x))(1.0)


@raises(ConcretizationError, "stop_gradient")
def cmath_function():
    fg.grad(lambda x: np.real(x * cmath.exp(x)))(1.0)


@raises(ConcretizationError, "stop_gradient")
def float_of_a_tracer():
    in_grad(lambda x: x * float(x[0]))


@raises(ConcretizationError, "stop_gradient")
def float_of_a_function_of_a_tracer():
    in_grad(lambda x: float(np.sum(x**2)))


@raises(ConcretizationError, "stop_gradient")
def complex_of_a_tracer():
    in_grad(lambda x: x * complex(x[0]).real)


@raises(ConcretizationError, ".item()", "stop_gradient")
def item():
    in_grad(lambda x: x[0].item())


@raises(ConcretizationError, "stop_gradient")
def float_of_what_an_outer_transform_differentiates():
    fg.grad(lambda x: fg.vmap(lambda y: y * float(x))(ONES).sum())(1.0)


@raises(ConcretizationError, "stop_gradient")
def float_inside_jit_inside_grad():
    fg.grad(fg.jit(lambda x: x * float(x)))(1.0)


@raises(ConcretizationError, "stop_gradient")
def float_under_jvp():
    fg.jvp(lambda x: x * float(x), (1.0,), (1.0,))


@raises(ConcretizationError, "stop_gradient")
def entry_of_an_array():
    def f(x):
        a = np.zeros(3)
        a[0] = x[0]
        return a

    in_grad(f)


@raises(ConcretizationError, ".tolist()", "return")
def tolist():
    fg.jit(lambda x: x.tolist())(ONES)


@raises(ConcretizationError, ".tobytes()")
def tobytes():
    in_grad(lambda x: x.tobytes())


@raises(ConcretizationError, "vmap", "np.where")
def condition_that_differs_by_example():
    fg.vmap(lambda x: x if x > 0 else -x)(ONES)


@raises(ConcretizationError, "vmap", "np.where")
def condition_that_differs_by_example_in_a_nested_grad():
    fg.vmap(fg.grad(lambda x: x if x > 0 else -x))(ONES)


@raises(ConcretizationError, "vmap")
def number_that_differs_by_example():
    fg.vmap(lambda x: x * int(x))(ONES)


@raises(ConcretizationError, "vmap")
def mask_that_differs_by_example():
    fg.vmap(lambda x: x[x > 0])(np.ones((2, 3)))


@raises(NonFiniteError, "log gave -inf", "at (1,)", "1 of 3", "(float64[3])", "np.where")
def infinity():
    with fg.config(debug_nans=True):
        fg.jit(lambda x: np.log(x))(np.array([1.0, 0.0, 2.0]))


@raises(TruthValueError, "(3,)", "np.where", "np.maximum(x, 0)", ".any()")
def ambiguous_condition():
    in_grad(lambda x: x if x > 0 else -x)


@raises(TruthValueError, "(0,)")
def condition_without_entries():
    fg.jit(lambda x: x if x else -x)(np.ones(0))


@raises(TracerAttributeError, "(3,)", ".detach", "fg.stop_gradient(x)")
def attribute_of_another_library():
    in_grad(lambda x: x.detach())


@raises(TracerAttributeError, ".summ", "x.sum")
def misspelt_attribute():
    in_grad(lambda x: x.summ())


def test_attributes_that_are_not_there_are_found_missing_silently():
    def f(x):
        assert not hasattr(x, "detach")
        assert not hasattr(x, "__array_interface__")
        assert getattr(x, "nothing_like_it", None) is None
        return x

    fg.jit(f)(1.0)


def test_the_remedies_for_attributes_of_other_libraries_exist():
    from fungrad._attributes import _ELSEWHERE

    for name, remedy in _ELSEWHERE.items():
        assert not hasattr(np.ndarray, name), name
        for path in re.findall(r"\bnp\.(\w+)", remedy):
            assert hasattr(np, path), remedy
        for path in re.findall(r"\bfg\.([\w.]+)", remedy):
            operator.attrgetter(path)(fg)
        for path in re.findall(r"\bx\.(\w+)", remedy):
            assert hasattr(np.ndarray, path), remedy


# --- writing -------------------------------------------------------------------------------------


@raises(TracerMutationError, "(3,)", "fg.at(x)[index].set(value)")
def assignment():
    def f(x):
        x[0] = 1.0
        return x

    in_grad(f)


@raises(TracerMutationError, "fg.at(x)[index].set(value)")
def augmented_assignment_to_an_entry():
    def f(x):
        x[1:] += 1.0
        return x

    fg.jit(f)(ONES)


@raises(TracerMutationError, "np.concatenate")
def deletion():
    def f(x):
        del x[0]
        return x

    in_grad(f)


@raises(TracerMutationError, "np.sort(x)")
def sort_in_place():
    in_grad(lambda x: x.sort())


@raises(TracerMutationError, "np.full_like")
def fill():
    in_grad(lambda x: x.fill(0.0))


@raises(ArrayMutationError, "np.add", "out=")
def out_argument():
    in_grad(lambda x: np.add(x, 1.0, out=np.zeros(3)))


@raises(ArrayMutationError, "np.sum", "out=")
def out_argument_of_a_function():
    in_grad(lambda x: np.sum(x, out=np.zeros(())))


@raises(ArrayMutationError, "np.sum", "out=")
def out_argument_of_a_method():
    in_grad(lambda x: x.sum(out=np.zeros(())))


@raises(ArrayMutationError, "out=")
def traced_out_argument():
    in_grad(lambda x: np.add(ONES, 1.0, out=x))


@raises(ArrayMutationError, "a = a + x")
def addition_in_place():
    def f(x):
        a = np.zeros(3)
        a += x
        return a

    in_grad(f)


@raises(ArrayMutationError)
def matmul_in_place():
    def f(x):
        a = np.eye(3)
        a @= x
        return a

    in_grad(f, np.eye(3))


@raises(ArrayMutationError, "np.add.at")
def add_at():
    in_grad(lambda x: np.add.at(np.zeros(3), [0], x[0]))


@raises(ArrayMutationError, "np.add.at")
def add_at_a_traced_index():
    in_grad(lambda x: np.add.at(np.zeros(3), x.astype(int), 1.0))


@raises(ArrayMutationError, "np.copyto", "write")
def copyto():
    in_grad(lambda x: np.copyto(np.zeros(3), x))


@raises(ArrayMutationError, "np.put", "write")
def put():
    in_grad(lambda x: np.put(np.zeros(3), [0], x[0]))


@raises(ArrayMutationError, "np.putmask", "write")
def putmask():
    in_grad(lambda x: np.putmask(np.zeros(3), [True, False, True], x))


@raises(ArrayMutationError, "np.place", "write")
def place():
    in_grad(lambda x: np.place(np.zeros(3), [True, False, True], x))


@raises(TracerConversionError)
def part_of_an_array():
    def f(x):
        a = np.zeros(3)
        a[:] = x
        return a

    in_grad(f)


@raises(TracerConversionError)
def diagonal_of_an_array():
    in_grad(lambda x: np.fill_diagonal(np.eye(3), x))


def test_the_remedy_of_add_at_is_no_nonsense():
    """``np.add.at`` returns None, so that ``result = np.add.at(...)`` helps nobody."""
    with pytest.raises(ArrayMutationError) as info:
        add_at()
    assert "result = np.add.at" not in str(info.value)


def test_rebinding_is_allowed():
    """``t += a`` on a traced value makes a new one and leaves the old one alone."""

    def f(x):
        y = x
        y += 1.0
        y *= x
        return np.sum(y)

    assert fg.grad(f)(np.array([2.0])).tolist() == [5.0]


# --- beyond the trace ----------------------------------------------------------------------------


def leaked(transform):
    kept = []

    def f(x):
        kept.append(x)
        return np.sum(x * 2.0)

    transform(f)
    return kept[0]


TRANSFORMS = {
    "grad": lambda f: fg.grad(f)(ONES),
    "jit": lambda f: fg.jit(f)(ONES),
    "vmap": lambda f: fg.vmap(f)(np.ones((2, 3))),
    "vjp": lambda f: fg.vjp(f, ONES),
    "jvp": lambda f: fg.jvp(f, (ONES,), (ONES,)),
    "jacobian": lambda f: fg.jacobian(f)(ONES),
    "jacfwd": lambda f: fg.jacfwd(f)(ONES),
    "linearize": lambda f: fg.linearize(f, ONES),
    "hvp": lambda f: fg.hvp(f, (ONES,), (ONES,)),
    "derivative": lambda f: fg.derivative(lambda x: x * f(x))(ONES),
    "trace": lambda f: fg.trace(f, ONES),
}
USES = {
    "operator": lambda t: t + 1.0,
    "reflected operator": lambda t: 1.0 - t,
    "comparison": lambda t: t > 0.0,
    "array operator": lambda t: ONES * t,
    "ufunc": np.sin,
    "function": np.sum,
    "method": lambda t: t.mean(),
    "index": lambda t: t[0],
    "iteration": lambda t: next(iter(t)),
    "matmul": lambda t: np.eye(3) @ t,
    "reshape": lambda t: t.reshape(3, 1),
    "zeros_like": np.zeros_like,
    "condition": lambda t: bool(t[0]),
    "membership": lambda t: 5.0 in t,
    "item": lambda t: t.item(0),
    "stack": lambda t: np.stack([t, t]),
    "concatenate": lambda t: np.concatenate([t, t]),
    "where": lambda t: np.where(t, 1.0, 2.0),
    "like": lambda t: np.array([t, t], like=t),
    "stop_gradient": fg.stop_gradient,
    "in another grad": lambda t: fg.grad(lambda x: np.sum(x * t))(ONES),
    "in another jit": lambda t: fg.jit(lambda x: x * t)(ONES),
    "in another vmap": lambda t: fg.vmap(lambda x: x * t[0])(ONES),
    "argument of grad": lambda t: fg.grad(lambda x: np.sum(x * 2.0))(t),
    "argument of jit": lambda t: fg.jit(lambda x: x * 2.0)(t),
    "argument of vmap": lambda t: fg.vmap(lambda x: x * 2.0)(t),
    "result of jit": lambda t: fg.jit(lambda x: t)(ONES),
    "argument of vjp": lambda t: fg.vjp(lambda x: x * 2.0, t),
    "tangent": lambda t: fg.jvp(lambda x: x * 2.0, (ONES,), (t,)),
    "formatting": lambda t: f"{t[0]:.3f}",
}


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_leaked_tracers_are_dead(transform):
    tracer = leaked(TRANSFORMS[transform])
    with pytest.raises(EscapedTracerError, match="escaped.*return it"):
        tracer + 1.0
    run_healthy()


@pytest.mark.parametrize("use", USES)
def test_every_use_of_a_leaked_tracer_raises(use):
    tracer = leaked(TRANSFORMS["grad"])
    for _ in range(2):
        with pytest.raises(EscapedTracerError, match="finished") as info:
            USES[use](tracer)
        assert __file__ in str(info.value)
    run_healthy()


def test_what_is_known_of_a_leaked_tracer_may_be_looked_at():
    tracer = leaked(TRANSFORMS["grad"])
    assert (tracer.shape, tracer.dtype, len(tracer)) == ((3,), np.float64, 3)
    assert "float64[3]" in repr(tracer)


@raises(EscapedTracerError, "has_aux=True")
def leak():
    leaked(TRANSFORMS["jit"]) * 2.0


def test_tracers_are_dead_after_an_exception():
    kept = []

    def f(x):
        kept.append(x)
        raise KeyError("mine")

    with pytest.raises(KeyError):
        fg.grad(f)(1.0)
    with pytest.raises(EscapedTracerError):
        kept[0] + 1.0


def test_inner_tracers_are_dead_while_the_outer_trace_runs():
    def f(x):
        inner = leaked(lambda g: fg.grad(lambda y: np.sum(g(x * y)))(ONES))
        return np.sum(x * inner)

    with pytest.raises(EscapedTracerError):
        fg.grad(f)(ONES)
    run_healthy()


def test_leaked_tracers_of_a_jitted_function_called_with_tracers():
    g = fg.jit(lambda y: y * 2.0)
    with pytest.raises(EscapedTracerError):
        g(leaked(TRANSFORMS["jit"]))
    assert_allclose(g(ONES), 2 * ONES)
    assert_allclose(fg.grad(lambda x: np.sum(g(x)))(ONES), 2 * ONES)


@raises(TracerIdentityError, "pickled")
def pickling():
    in_grad(lambda x: pickle.dumps(x))


@raises(TracerIdentityError, "copied", "immutable")
def shallow_copy():
    in_grad(lambda x: copy.copy(x))


@raises(TracerIdentityError, "copied", "immutable")
def deep_copy_of_a_tree():
    in_grad(lambda x: copy.deepcopy({"w": [x]})["w"][0])


@pytest.mark.parametrize("f", [hash, lambda x: {x: 1}, lambda x: {x}], ids=["hash", "dict", "set"])
def test_tracers_are_unhashable(f):
    with pytest.raises(TypeError, match="unhashable"):
        fg.jit(lambda x: (f(x), x)[1])(1.0)
    run_healthy()


# --- cotangents, tangents, batches ---------------------------------------------------------------


@raises(CotangentError, "(3,)", "(2,)")
def shape_of_a_cotangent():
    fg.vjp(lambda x: x * 2.0, ONES)[1](np.ones(2))


@raises(CotangentError, "(3,)", "()")
def scalar_cotangent():
    fg.vjp(lambda x: x * 2.0, ONES)[1](1.0)


@raises(CotangentError, "float64", "complex128")
def complex_cotangent():
    fg.vjp(lambda x: x * 2.0, ONES)[1](ONES * 1j)


@raises(CotangentError, "['b']", "(3,)", "(4,)")
def shape_of_a_cotangent_in_a_tree():
    fg.vjp(lambda x: {"a": x, "b": x}, ONES)[1]({"a": ONES, "b": np.ones(4)})


@raises(TreeMismatchError, "cotangent", "length 2", "length 3")
def length_of_a_cotangent():
    fg.vjp(lambda x: (x, x), ONES)[1]((ONES, ONES, ONES))


@raises(TreeMismatchError, "cotangent", "'a'")
def keys_of_a_cotangent():
    fg.vjp(lambda x: {"a": x}, ONES)[1]({"b": ONES})


@raises(CotangentError, "(3,)", "(4,)")
def shape_of_a_tangent():
    fg.jvp(lambda x: x * 2.0, (ONES,), (np.ones(4),))


@raises(CotangentError, "complex128")
def complex_tangent():
    fg.jvp(lambda x: x * 2.0, (ONES,), (ONES * 1j,))


@raises(TreeMismatchError, "tangents", "length 1", "length 2")
def number_of_tangents():
    fg.jvp(lambda x: x * 2.0, (ONES,), (ONES, ONES))


@raises(TreeMismatchError, "tangents")
def structure_of_a_tangent():
    fg.jvp(lambda p: p["a"], ({"a": ONES},), ([ONES],))


@raises(ShapeMismatchError, "argument 0: 3", "argument 1: 4", "in_axes=None")
def sizes_of_batches():
    fg.vmap(lambda x, y: x * y)(ONES, np.ones(4))


@raises(ShapeMismatchError, "['b']: 4", "in_axes=None")
def sizes_of_batches_in_a_tree():
    fg.vmap(lambda p: p["a"] * p["b"])({"a": ONES, "b": np.ones(4)})


@raises(ShapeMismatchError, "none")
def batch_of_nothing():
    fg.vmap(lambda x: x)("text")


@raises(ShapeMismatchError, "none")
def nothing_to_map_over():
    fg.vmap(lambda x: x, in_axes=None)(ONES)


@raises(ShapeMismatchError, "argument 0", "axis 0", "in_axes=None")
def batch_of_a_number():
    fg.vmap(lambda x: x)(1.0)


@raises(ShapeMismatchError, "axis 1", "1 axes")
def axis_of_a_batch():
    fg.vmap(lambda x: x, in_axes=1)(ONES)


@raises(ShapeMismatchError, "axis -2")
def negative_axis_of_a_batch():
    fg.vmap(lambda x: x, in_axes=-2)(ONES)


@raises(TreeMismatchError, "in_axes")
def structure_of_in_axes():
    fg.vmap(lambda p: p["a"], in_axes=({"b": 0},))({"a": ONES})


@raises(ArgumentError, "argnums=1", "1")
def argnum():
    fg.grad(lambda x: x, argnums=1)(1.0)


@raises(ArgumentError, "argnums=-2")
def negative_argnum():
    fg.grad(lambda x: x, argnums=-2)(1.0)


@raises(ArgumentError, "argnums=2")
def one_of_argnums():
    fg.value_and_grad(lambda x, y: x, argnums=(0, 2))(1.0, 1.0)


@raises(ArgumentError, "argnums=3")
def argnum_of_jacobian():
    fg.jacobian(lambda x: x, argnums=3)(1.0)


@raises(ArgumentError, "argnums=0", "keyword")
def argument_by_keyword():
    fg.grad(lambda x: x)(x=1.0)


@raises(ArgumentError, "in_axes", "2", "1")
def number_of_in_axes():
    fg.vmap(lambda x: x, in_axes=(0, 0))(ONES)


def test_an_argument_named_twice():
    """Either an error, or the gradient in both places; never a zero in one of them."""
    try:
        first, second = fg.grad(lambda x: x * x, argnums=(0, 0))(3.0)
    except (TypeError, ValueError):
        return
    assert first == second == 6.0


# --- loops ---------------------------------------------------------------------------------------


@raises(CarryError, "init['a']", "shape ()", "shape (2,)", "np.broadcast_to")
def carry_of_another_shape():
    fg.scan(lambda c, x: ({"a": np.stack([c["a"], x])}, None), {"a": 0.0}, ONES)


@raises(CarryError, "float32", "float64", "value.astype(np.float32)")
def carry_of_another_dtype():
    fg.scan(lambda c, x: (c + x, None), np.float32(0), ONES)


@raises(BranchError, "result[0]", "float64[]", "float64[3]", "np.broadcast_to")
def branches_of_different_shapes():
    fg.jit(lambda x: fg.cond(x[0] > 0, lambda: (x[0],), lambda: (x,)))(ONES)


@raises(PredicateError, "the condition of fg.while_loop", "float64[3]", "np.all(condition)")
def condition_of_many():
    fg.while_loop(lambda x: x, lambda x: x - 1, ONES)


@raises(IntegrationError, "pole", "max_steps=", "rtol=")
def solution_with_a_pole():
    with np.errstate(all="ignore"):
        fg.ode.odeint(lambda y, t: y * y, 1.0, np.array([0.0, 2.0]), rtol=1e-4)


# --- jit -----------------------------------------------------------------------------------------


@raises(StaticArgumentError, "hashable", "tuple")
def static_list():
    fg.jit(lambda x, n: x * n[0], static_argnums=1)(1.0, [2])


@raises(StaticArgumentError, "hashable", "tuple")
def static_array():
    fg.jit(lambda x, n: x * n[0], static_argnums=1)(1.0, ONES)


@raises(StaticArgumentError, "hashable")
def unhashable_leaf():
    fg.jit(lambda x, names: x)(1.0, {"a", "b"})


@raises(StaticArgumentError, "hashable")
def unhashable_leaf_by_keyword():
    fg.jit(lambda x, names: x)(1.0, names={"a"})


def test_jit_after_an_unhashable_argument():
    f = fg.jit(lambda x, n: x * n[0], static_argnums=1)
    with pytest.raises(StaticArgumentError):
        f(2.0, [3])
    assert f(2.0, (3,)) == 6.0
    assert f(2.0, (4,)) == 8.0


# --- rule authors --------------------------------------------------------------------------------


@raises(CallbackError, "float64[3]", "float64[]", "fg.ShapeDtypeStruct(shape, dtype)")
def callback_of_another_shape():
    fg.pure_callback(np.sin, fg.ShapeDtypeStruct(()), ONES)


@raises(ConvergenceError, "did not converge in", "steps", "x0", "tol=")
def equation_without_a_solution():
    fg.root(lambda x: x**2 + 1, 0.7)


@raises(GraphFormatError, "'mylab_gone'", "import the module")
def primitive_that_is_not_declared_where_a_graph_is_read():
    from fungrad._codec import decode, encode

    version, inputs, ((_, *row),), outputs = encode(fg.trace(np.sin, 1.0))
    decode((version, inputs, (("mylab_gone", *row),), outputs))


@raises(IncompletePrimitiveError, "vjp", "Unwritten")
def primitive_without_vjp():
    primitive("test_none", value=np.sin, aval=lambda x: x, vjp=None, batch=Unwritten("test"))


@raises(IncompletePrimitiveError, "batch", "Unwritten")
def primitive_without_batch():
    primitive("test_none", value=np.sin, aval=lambda x: x, vjp=ZERO, batch=None)


@raises(IncompletePrimitiveError, "aval")
def primitive_without_aval():
    primitive("test_none", value=np.sin, aval=None, vjp=ZERO, batch=Unwritten("test"))


@raises(IncompletePrimitiveError, "partials", "ZERO", "Unwritten")
def elementwise_without_partials():
    elementwise(np.isnat, None)


@raises(IncompletePrimitiveError, "sin", "twice")
def primitive_declared_twice():
    elementwise(np.sin, ZERO)


@raises(IncompletePrimitiveError, "identifier")
def primitive_with_a_hostile_name():
    primitive("a b", value=np.sin, aval=lambda x: x, vjp=ZERO, batch=Unwritten("test"))


def test_refused_declarations_leave_no_trace():
    from fungrad._primitive import answers, registry

    assert "test_none" not in registry()
    assert "isnat" not in registry()
    assert np.isnat not in answers
    assert fg.grad(np.sin)(0.0) == 1.0


# --- after the exception -------------------------------------------------------------------------

TRANSFORMED = {
    "jit": (fg.jit, lambda x: 2 * x),
    "grad": (lambda f: fg.grad(lambda x: np.sum(f(x))), lambda x: 0 * x + 2),
    "jit grad": (lambda f: fg.jit(fg.grad(lambda x: np.sum(f(x)))), lambda x: 0 * x + 2),
    "grad jit": (lambda f: fg.grad(lambda x: np.sum(fg.jit(f)(x))), lambda x: 0 * x + 2),
    "vmap": (lambda f: fg.vmap(lambda r: np.sum(f(r))), lambda x: 2 * x.sum(-1)),
    "jacobian": (lambda f: fg.jacobian(lambda x: np.sum(f(x))), lambda x: 0 * x + 2),
}


@pytest.mark.parametrize("name", TRANSFORMED)
@pytest.mark.parametrize(
    "mistake",
    [
        lambda x: x + np.ones(77), lambda x: np.asarray(x), lambda x: np.packbits(x),
        lambda x: 1 / 0, lambda x: x.tolist(), lambda x: x[1000],
    ],
    ids=["shape", "conversion", "unsupported", "own error", "leaving", "index"],
)  # fmt: skip
def test_the_same_function_works_after_its_exception(name, mistake):
    transform, expected = TRANSFORMED[name]
    wrong = [True]

    def f(x):
        if wrong[0]:
            return mistake(x)
        return 2 * x

    function, x = transform(f), np.arange(6.0).reshape(2, 3)
    for _ in range(2):
        wrong[0] = True
        with pytest.raises((FungradError, ZeroDivisionError, IndexError)):
            function(x)
        wrong[0] = False
        assert_allclose(function(x + 1.0), expected(x + 1.0))
        if "jit" in name:
            function = transform(f)  # else the program of the right version is kept


def test_the_error_inside_a_list_is_unwrapped_at_every_boundary():
    """NumPy wraps what __array__ raises in a ValueError; users see our message."""
    f = lambda x: np.sum(np.array([[x[0], x[1]], [x[2], 1.0]]))
    for call in (
        lambda: fg.grad(f)(ONES), lambda: fg.jit(f)(ONES), lambda: fg.vjp(f, ONES),
        lambda: fg.jvp(f, (ONES,), (ONES,)), lambda: fg.vmap(f)(np.ones((2, 3))),
        lambda: fg.jacobian(f)(ONES), lambda: fg.hessian(f)(ONES), lambda: fg.trace(f, ONES),
        lambda: fg.source(f, ONES), lambda: fg.grad(lambda x: fg.grad(f)(x).sum())(ONES),
    ):  # fmt: skip
        with pytest.raises(TracerConversionError, match=r"np\.stack"):
            call()


def test_errors_of_user_code_pass_unchanged():
    class Mine(Exception):
        pass

    def f(x):
        raise Mine("text")

    for transform in TRANSFORMS.values():
        with pytest.raises(Mine, match="^text$"):
            transform(f)


def test_len_and_iteration_of_a_number():
    for f in (len, iter, list):
        with pytest.raises(TypeError, match="0-d|unsized"):
            fg.grad(lambda x, f=f: (f(x), x)[1])(1.0)


def test_standard_library_functions_differentiate_or_refuse():
    x = np.array([3.0, 1.0, 2.0])
    assert fg.grad(lambda x: max(x))(x).tolist() == [1.0, 0.0, 0.0]
    assert fg.grad(lambda x: sum(x) / len(x))(x).tolist() == [1 / 3] * 3
    assert fg.grad(lambda x: sorted(x)[0])(x).tolist() == [0.0, 1.0, 0.0]
    assert fg.grad(lambda x: statistics.median(list(x)))(x).tolist() == [0.0, 0.0, 1.0]
    for f in (
        math.fsum,
        statistics.fmean,
        lambda x: random.Random(0).gauss(x[0], 1.0) * 0 + math.exp(x[0]),
    ):
        with pytest.raises(FungradError):
            fg.grad(f)(x)


def test_every_class_is_raised_by_a_case():
    raised = {case.values[1] for case in CASES}
    assert raised == classes_of_the_module() - {FungradError}
