"""Primitives of your own, as ``fg.extend``: functions that fungrad differentiates by your rules.

Row 10, the public face of ``fungrad._primitive`` for rule authors. A function written in NumPy
needs none of this: it is differentiated through what it calls. Declare a primitive where your rule
is faster or more accurate than that, or where the function is no composition of NumPy functions.

* `elementwise` declares a function of corresponding entries by its partial derivatives; shapes,
  dtypes, batching and both modes of differentiation follow.
* `primitive` declares any other by four rules: value, aval (shape and dtype of the result), vjp
  (what the cotangent of the result means for each operand) and batch (what a leading axis of
  examples changes). None has a default; a declaration that misses one fails where it stands, with
  `IncompletePrimitiveError <fungrad.errors.IncompletePrimitiveError>`.
* `make_aval` gives the aval of a shape and a dtype. A primitive may have several results: then its
  value is a tuple, its aval is `tuple_aval` of theirs, and so is what its rules get and give for
  the result: in a vjp rule ``ct`` and ``y``, in a batch rule what it returns.
* What is no operand (axes, shapes, functions, even graphs) goes by keyword, and must be hashable.
* `ZERO` in the place of a vjp says that the derivative is zero, `INDEX` in the place of a partial
  that the operand is an index or a condition, and ``Unwritten(reason)`` that nobody wrote the rule
  yet: whoever needs it is told the reason.
* `implements` lets a function of traced values answer a NumPy function that has no rule so far.
* `registry` maps the names of all primitives to their records, each a `Primitive`.

Rules are written in np functions and other primitives, and so can be differentiated and batched
again. They get traced values and Python numbers, and must not use concrete arrays. Whatever a
vjp rule returns is summed over axes along which its operand was broadcast, and cast to its dtype.

A name belongs to one primitive in a process: it stands in listings, and pickling goes by it. So
begin it with the name of your package, and declare at the top of a module, not inside functions.

Example::

    import numpy as np
    import fungrad as fg
    from fungrad.extend import elementwise, make_aval, primitive, tuple_aval

    def softplus_value(x):
        return np.logaddexp(0, x)

    # y = log(1 + exp(x)), so dy/dx = 1 - exp(-y)
    softplus = elementwise(
        softplus_value, lambda y, x: (-np.expm1(-y),), name="mylab_softplus"
    )

    assert softplus(0.0) == np.log(2)
    assert fg.grad(softplus)(0.0) == 0.5
    assert np.isclose(fg.grad(fg.grad(softplus))(0.0), 0.25)

    running_sum = primitive(
        "mylab_running_sum",
        value=lambda x: np.cumsum(x, axis=-1),
        aval=lambda x: x,  # shape and dtype of the operand
        # An entry is part of its own sum and of all later ones.
        vjp=lambda ct, y, x: (running_sum(ct[..., ::-1])[..., ::-1],),
        # The examples lie along the first axis, the sums run along the last.
        batch=lambda batched, size, x: running_sum(x),
    )

    halves = primitive(
        "mylab_halves",
        value=lambda x, axis: tuple(np.split(x, 2, axis)),
        aval=lambda x, axis: tuple_aval(*[half_of(x, axis)] * 2),
        vjp=lambda ct, y, x, axis: (np.concatenate(ct, axis),),
        batch=lambda batched, size, x, axis: halves(x, axis=axis + 1),
    )

    def half_of(x, axis):
        shape = list(x.shape)
        shape[axis] //= 2
        return make_aval(tuple(shape), x.dtype)

    x = np.array([1.0, 2.0, 3.0])
    weights = np.array([1.0, 10.0, 100.0])
    assert running_sum(x).tolist() == [1.0, 3.0, 6.0]
    gradient = fg.jit(fg.grad(lambda x: np.sum(weights * running_sum(x))))
    assert gradient(x).tolist() == [111.0, 110.0, 100.0]
    assert fg.vmap(running_sum)(np.ones((2, 3))).tolist() == [[1.0, 2.0, 3.0]] * 2

    first_only = lambda x: np.sum(halves(x, axis=0)[0])  # the second half has no cotangent
    assert fg.grad(first_only)(np.ones(4)).tolist() == [1.0, 1.0, 0.0, 0.0]
    assert fg.vmap(first_only)(np.ones((3, 4))).tolist() == [2.0, 2.0, 2.0]

References:
    Griewank and Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, section 3.2, for the vjp rule.
"""

from fungrad._aval import make_aval, tuple_aval
from fungrad._primitive import (
    INDEX,
    ZERO,
    Primitive,
    Unwritten,
    elementwise,
    implements,
    primitive,
    registry,
)

__all__ = [
    "INDEX",
    "ZERO",
    "Primitive",
    "Unwritten",
    "elementwise",
    "implements",
    "make_aval",
    "primitive",
    "registry",
    "tuple_aval",
]
