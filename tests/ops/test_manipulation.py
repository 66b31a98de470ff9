"""Stacks, splits, rolls, repeats, pads, diagonals: entries that move, call by call."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fungrad as fg
from fungrad.errors import ArrayMutationError, ConcretizationError, UnsupportedFunctionError
from tests._checks import same_bits
from tests._versions import NUMPY
from tests.ops._ordering_calls import (
    check_batched,
    check_call,
    check_derivatives,
    check_value,
    draw,
)

A = np.array
window = np.lib.stride_tricks.sliding_window_view
PLAIN = np.arange(4.0)

UNARY = {
    "atleast_1d": lambda x: np.atleast_1d(x[0, 0]),
    "atleast_2d": lambda x: np.atleast_2d(x[0]),
    "atleast_3d": lambda x: np.atleast_3d(x),
    "atleast_3d of a vector": lambda x: np.atleast_3d(x[0]),
    "atleast_3d of several": lambda x: np.atleast_3d(x, x[0, 0], x[0], 1.0),
    "vstack": lambda x: np.vstack([x, x[0], PLAIN]),
    "vstack of an array": lambda x: np.vstack(x),
    "hstack": lambda x: np.hstack([x, x[:, :1]]),
    "hstack of vectors": lambda x: np.hstack((x[0], PLAIN, x[1, 0])),
    "dstack": lambda x: np.dstack((x, 2 * x)),
    "dstack of vectors": lambda x: np.dstack((x[0], PLAIN)),
    "column_stack": lambda x: np.column_stack((x.T, x[0], PLAIN)),
    "concat": lambda x: np.concat([x, x[:1]]),
    "concatenate dtype": lambda x: np.concatenate([x, x], axis=1, dtype=np.complex128),
    "append": lambda x: np.append(x, [1.0, 2.0]),
    "append axis": lambda x: np.append(x, x[:1], axis=0),
    "block": lambda x: np.block([[x, x[:, :1]], [np.ones((1, 4)), 3 * x[:1, :1]]]),
    "block of vectors": lambda x: np.block([x[0], 2.0, PLAIN]),
    "block, ranks differ": lambda x: np.block([x[None], x[None]]),
    "block of one": lambda x: np.block(x),
    "split": lambda x: np.split(x, 2, axis=1),
    "split at": lambda x: np.split(x, [1, 3], axis=-1),
    "split at, out of order": lambda x: np.split(x, [3, 1, 7], axis=1)[2],
    "array_split": lambda x: np.array_split(x.ravel(), 5),
    "array_split axis": lambda x: np.array_split(x, 3, axis=1),
    "hsplit": lambda x: np.hsplit(x, 2),
    "hsplit of a vector": lambda x: np.hsplit(x[0], [1]),
    "vsplit": lambda x: np.vsplit(x, 3),
    "dsplit": lambda x: np.dsplit(x[None], 2),
    "unstack": lambda x: np.unstack(x, axis=1),
    "tile": lambda x: np.tile(x, 2),
    "tile, ranks differ": lambda x: np.tile(x, (2, 1, 3)),
    "tile, few": lambda x: np.tile(x, [3]),
    "tile of 0-d": lambda x: np.tile(x[0, 0], (2, 2)),
    "tile 0": lambda x: np.tile(x, (0, 2)),
    "repeat": lambda x: np.repeat(x, 3),
    "repeat axis": lambda x: np.repeat(x, 2, axis=1),
    "repeat 0": lambda x: np.repeat(x, 0, axis=0),
    "repeat each": lambda x: np.repeat(x, [1, 0, 2], axis=0),
    "repeat each method": lambda x: x.repeat(A([2, 0, 1, 1]), axis=-1),
    "repeat of one": lambda x: np.repeat(x, [2], axis=0),
    "roll": lambda x: np.roll(x, 5),
    "roll axis": lambda x: np.roll(x, -1, axis=1),
    "roll axes": lambda x: np.roll(x, (1, 2), axis=(0, 1)),
    "roll one by axes": lambda x: np.roll(x, 1, axis=(1, 0)),
    "roll twice": lambda x: np.roll(x, (1, 2), axis=1),
    "roll 0": lambda x: np.roll(x, 0, axis=0),
    "flip": lambda x: np.flip(x),
    "flip axis": lambda x: np.flip(x, -1),
    "flip axes": lambda x: np.flip(x[None], (0, 2)),
    "fliplr": lambda x: np.fliplr(x),
    "flipud": lambda x: np.flipud(x),
    "rot90": lambda x: np.rot90(x),
    "rot90 twice": lambda x: np.rot90(x, 2),
    "rot90 back": lambda x: np.rot90(x, -1),
    "rot90 0": lambda x: np.rot90(x, 4),
    "rot90 axes": lambda x: np.rot90(x[None], 1, axes=(-1, 0)),
    "rollaxis": lambda x: np.rollaxis(x[None], 2),
    "rollaxis start": lambda x: np.rollaxis(x[None], 0, 3),
    "rollaxis negative": lambda x: np.rollaxis(x[None], -1, -2),
    "broadcast_arrays": lambda x: np.broadcast_arrays(x, x[0], PLAIN),
    "meshgrid": lambda x: np.meshgrid(x[0], PLAIN[:2], x[:, 0]),
    "meshgrid ij": lambda x: np.meshgrid(x[0], x[:, 0], indexing="ij"),
    "meshgrid sparse": lambda x: np.meshgrid(x[0], x[:, 0], sparse=True),
    "meshgrid of one": lambda x: np.meshgrid(x[0]),
    "resize larger": lambda x: np.resize(x, (5, 3)),
    "resize smaller": lambda x: np.resize(x, 5),
    "resize 0": lambda x: np.resize(x, (0, 2)),
    "delete": lambda x: np.delete(x, 1, axis=0),
    "delete flat": lambda x: np.delete(x, [0, 3, -1]),
    "delete slice": lambda x: np.delete(x, slice(None, None, 2), axis=1),
    "delete mask": lambda x: np.delete(x, A([True, False, False, True]), axis=1),
    "insert": lambda x: np.insert(x, 1, 5.0, axis=0),
    "insert flat": lambda x: np.insert(x, [0, 3, 3], [1.0, 2.0, 3.0]),
    "insert a row": lambda x: np.insert(x, -1, x[0] * 2, axis=0),
    "insert columns": lambda x: np.insert(x, [1, 3], x[:, :2], axis=1),
    "insert several at one": lambda x: np.insert(x[0], [2], x[1]),
    "insert a column": lambda x: np.insert(x, 1, x[:, 0], axis=1),
    "insert slice": lambda x: np.insert(x, slice(0, 3, 2), 7.0, axis=1),
    "insert mask": lambda x: np.insert(x[0], A([True, False, True, False]), 7.0),
    "tril": lambda x: np.tril(x),
    "triu k": lambda x: np.triu(x, 1),
    "tril of a stack": lambda x: np.tril(np.stack([x, x]), -1),
    "triu of a vector": lambda x: np.triu(x[0]),
    "diag": lambda x: np.diag(x),
    "diag k": lambda x: np.diag(x, 2),
    "diag below": lambda x: np.diag(x, -1),
    "diag outside": lambda x: np.diag(x, 4),
    "diag of a vector": lambda x: np.diag(x[0]),
    "diag of a vector, k": lambda x: np.diag(x[0], -2),
    "diag of an empty vector": lambda x: np.diag(x[0, :0], 2),
    "diagflat": lambda x: np.diagflat(x, 1),
    "diagonal": lambda x: np.diagonal(x),
    "diagonal method": lambda x: x.diagonal(-1),
    "diagonal axes": lambda x: np.diagonal(np.stack([x, 2 * x]), 1, axis1=2, axis2=0),
    "vander": lambda x: np.vander(x[0]),
    "vander N": lambda x: np.vander(x[0], 3, increasing=True),
    "vander 1": lambda x: np.vander(x[0], 1),
    "windows": lambda x: window(x, 2, axis=1),
    "windows in both axes": lambda x: window(x, (2, 3)),
    "windows out of order": lambda x: window(x, (3, 2), axis=(1, 0)),
    "windows of all": lambda x: window(x, (3, 4)),
}


def check_refused(function, x, error):
    """NumPy raises this class, and so does the traced program."""
    for run in (function, fg.jit(function)):
        with pytest.raises(error):
            run(x)


@pytest.mark.parametrize("name", UNARY)
def test_moving(name):
    if name == "insert mask" and NUMPY < (2, 2):
        pytest.skip("booleans are taken for integers, with a warning")
    exact = name not in {"vander"}
    check_call(UNARY[name], draw(3, 4), exact=exact, what=name)
    for dtype in (np.float32, np.int64, np.uint8, np.complex64, bool):
        if name != "vander" and dtype is bool and "2 *" in name:
            continue
        check_value(UNARY[name], np.abs(draw(3, 4)).astype(dtype), exact=exact, what=name)


def pad_calls():
    yield from (
        (f"{mode} {width}", lambda x, m=mode, w=width: np.pad(x, w, mode=m))
        for mode in (
            "constant", "edge", "linear_ramp", "maximum", "mean", "median", "minimum", "reflect",
            "symmetric", "wrap",
        )
        for width in (1, (2, 3), ((0, 0), (1, 0)), ((1, 2), (3, 0)), ((7, 11), (0, 9)), 0)
    )  # fmt: skip
    yield from {
        "constant value": lambda x: np.pad(x, 1, constant_values=5.0),
        "constant values": lambda x: np.pad(x, 2, constant_values=((1, 2), (3, 4))),
        "constant -0.0": lambda x: np.pad(x, 1, constant_values=-0.0),
        "constant traced": lambda x: np.pad(x, 1, constant_values=x[0, 0]),
        "ramp to": lambda x: np.pad(x, 3, mode="linear_ramp", end_values=(1.5, -2.0)),
        "ramp to traced": lambda x: np.pad(x, 2, mode="linear_ramp", end_values=x[0, 0]),
        "mean of 2": lambda x: np.pad(x, 2, mode="mean", stat_length=2),
        "maximum of some": lambda x: np.pad(x, 1, mode="maximum", stat_length=((1, 2), (3, 9))),
        "odd reflect": lambda x: np.pad(x, 2, mode="reflect", reflect_type="odd"),
        "odd reflect, far": lambda x: np.pad(x, (8, 11), mode="reflect", reflect_type="odd"),
        "odd symmetric, far": lambda x: np.pad(
            x, ((9, 1), (0, 13)), "symmetric", reflect_type="odd"
        ),
        "by axis": lambda x: np.pad(x, [[1], [2]], "edge"),
    }.items()


PADS = dict(pad_calls())


@pytest.mark.parametrize("name", PADS)
def test_pad(name):
    function = PADS[name]
    check_value(function, draw(3, 4), exact="mean" not in name, what=name)
    check_derivatives(function, draw(3, 4), what=name)
    check_batched(function, draw(3, 4), what=name)
    for dtype in (np.float32, np.int64):
        check_value(function, (3 * draw(3, 4)).astype(dtype), exact="mean" not in name, what=name)
    if not any(word in name for word in ("maximum of", "traced")):
        check_value(function, draw(1, 2), exact="mean" not in name, what=f"{name} of length 1")


def test_pad_refusals():
    with pytest.raises(UnsupportedFunctionError, match="concatenate"):
        fg.jit(lambda x: np.pad(x, 1, mode=lambda *args: None))(np.ones(3))
    for call in (
        lambda x: np.pad(x, 1, mode="nonsense"),
        lambda x: np.pad(x, 1, mode="edge", constant_values=1),
        lambda x: np.pad(x[:0], 1, mode="edge"),
        lambda x: np.pad(x, -1),
        lambda x: np.pad(x, ((1, 1), (1, 1))),
        lambda x: np.pad(x, 1, mode="maximum", stat_length=0),
    ):
        check_refused(call, np.ones(3), ValueError)
    check_refused(lambda x: np.pad(x, 1.5), np.ones(3), TypeError)
    check_value(lambda x: np.pad(x, ((0, 1), (0, 0)), "edge"), np.ones((2, 0)))
    check_value(lambda x: np.pad(x, 2, constant_values=1.0), np.ones((2, 0)))


def test_pad_and_slices_with_known_gradients():
    K = np.arange(6.0).reshape(2, 3)
    f = lambda x: np.sum(np.pad(x, ((0, 0), (1, 0))) * K)
    assert_allclose(fg.grad(f)(np.ones((2, 2))), [[1, 2], [4, 5]])
    f = lambda x: np.sum(np.pad(x, 1, mode="edge") * np.arange(4.0))
    assert_allclose(fg.grad(f)(A([1.0, 2.0])), [1, 5])
    assert_allclose(fg.grad(lambda x: np.sum(x[::-2] * A([1.0, 10.0])))(np.ones(4)), [0, 10, 0, 1])
    f = lambda x: np.sum(x[3:3:2]) + np.sum(x[5:]) + np.sum(x)
    assert_allclose(fg.grad(f)(np.ones(4)), np.ones(4))
    f = lambda x: np.sum(x[None, ..., 0] * A([2.0, 3.0]))
    assert_allclose(fg.grad(f)(np.ones((2, 2))), [[2, 0], [3, 0]])
    assert_allclose(fg.grad(lambda x: np.sum(x[1:][-1]))(np.ones(4)), [0, 0, 0, 1])


def test_layouts():
    w = np.arange(6.0)
    f = lambda x: np.sum(w * np.reshape(x, (6,), order="F"))
    assert_allclose(fg.grad(f)(np.ones((2, 3))), w.reshape((2, 3), order="F"))
    f = lambda x: np.sum(w * np.ravel(np.transpose(x)))
    assert_allclose(fg.grad(f)(np.ones((2, 3))), w.reshape(3, 2).T)
    base = np.arange(24.0).reshape(4, 6)
    frozen = np.arange(6.0).reshape(2, 3)
    frozen.flags.writeable = False
    spread = np.broadcast_to(A([1.0, 2.0, 3.0]), (2, 3))
    layouts = (
        base[::2, ::2],
        base[::-1],
        np.asfortranarray(base),
        base.T,
        frozen,
        spread,
        base[:, :0],
    )
    f = lambda x: (
        np.roll(np.tile(np.flip(x, 1), 2), 1, axis=1) * np.pad(x, ((0, 0), (0, x.shape[1])))
    )
    g = lambda x: window(np.diag(np.diagonal(x @ x.T)), (2, 2)).sum((2, 3))
    for function in (f, g):
        jitted = fg.jit(function)
        for x in layouts:
            before = x.copy()
            for _ in range(2):
                same_bits(jitted(x), function(x), str(x.strides))
            same_bits(x, before, "the operand")
            check_derivatives(function, x, what=str(x.strides))


def test_empty_and_scalar_operands():
    for x in (np.ones((0, 3)), np.ones((2, 0)), np.zeros((0, 0))):
        for name in ("tile", "roll", "roll axes", "flip", "rot90", "tril", "diag", "diag k", "repeat",
                     "repeat axis", "fliplr", "atleast_3d", "resize larger", "unstack"):  # fmt: skip
            check_value(UNARY[name], x, what=name)
    for f in (lambda x: np.tile(x, 3), lambda x: np.repeat(x, 3), lambda x: np.atleast_2d(x),
              lambda x: np.hstack([x, x]), lambda x: np.vstack([x, 1.0]), lambda x: np.flip(x),
              lambda x: np.roll(x, 1), lambda x: np.append(x, x), lambda x: np.resize(x, 4),
              lambda x: np.block([x, 2.0]), lambda x: np.insert(x, 0, 1.0),
              lambda x: np.pad(x, ()) if x.ndim else x, lambda x: np.dstack([x, x])):  # fmt: skip
        check_call(f, np.float64(1.5))


def test_moved_entries_are_read_as_slices():
    """No index array: neither the value nor the gradient touches entries one by one."""
    for f in (lambda x: np.delete(x, 4), lambda x: np.pad(x, 3, "wrap"),
              lambda x: np.insert(x, 2, 1.0), lambda x: np.pad(x, 3, "reflect")):  # fmt: skip
        nodes = fg.trace(f, np.ones(9)).nodes
        assert all(len(n.args) == 1 for n in nodes if n.primitive.name == "getitem")


def test_values_that_decide_a_shape():
    x = A([0.0, 0.0, 3.0, 0.0, 4.0, 0.0])
    for f in (
        lambda x: np.trim_zeros(x), lambda x: np.trim_zeros(x, "f"),
        lambda x: np.trim_zeros(x, "B"), lambda x: np.trim_zeros(x[:2]),
        lambda x: np.repeat(x, (x > 0) * 2), lambda x: np.delete(x, x == 0),
        lambda x: np.insert(x, np.flatnonzero(x[:4] > 0), 9.0), lambda x: x[np.ix_(x > 0)],
    ):  # fmt: skip
        check_value(f, x)
        check_derivatives(lambda v, f=f: f(v * x), 1 + draw(6) * 0.1)
    if NUMPY >= (2, 2):  # before, vectors only
        matrix = np.pad(draw(2, 2), 2)
        check_value(lambda x: np.trim_zeros(x), matrix)
        check_value(lambda x: np.trim_zeros(x, axis=0), matrix)
    with pytest.raises(ConcretizationError, match="np.trim_zeros"):
        fg.vmap(lambda x: np.trim_zeros(x))(np.ones((2, 3)))
    with pytest.raises(ValueError, match="unexpected"):
        fg.jit(lambda x: np.trim_zeros(x, "x"))(x)


def test_traced_shifts_and_counts():
    x, shift = draw(5), np.array(2)
    for axis in (None, 0):
        f = lambda x, s, axis=axis: np.roll(x, s, axis)
        check_value(f, x, shift)
        got = fg.vmap(f, (None, 0))(x, A([0, 1, -7]))
        same_bits(got, np.stack([np.roll(x, s) for s in (0, 1, -7)]), "roll")
    assert_allclose(fg.grad(lambda x: np.roll(x, shift)[0])(x), [0, 0, 0, 1, 0])
    f = lambda x, s: np.roll(x, s, axis=(0, 1))
    check_value(f, draw(3, 4), A([1, 3]))
    same_bits(fg.jit(lambda x, n: np.tile(x, n))(x, 2), np.tile(x, 2), "tile")
    same_bits(fg.jit(lambda x, n: np.repeat(x, n))(x, 2), np.repeat(x, 2), "repeat")
    same_bits(fg.jit(lambda x, n: np.tril(x, n))(draw(3, 3), 1), np.tril(draw(3, 3), 1), "tril")


def test_ix_and_index_helpers():
    x = draw(4, 5)
    check_call(lambda x: x[np.ix_([0, 2], [1, 3, 4])], x)
    f = lambda x, i: x[np.ix_(i, [True, False, True, False, True])]
    check_value(f, x, A([3, 0]))
    same_bits(fg.jit(lambda i: np.ix_(i, i)[1])(A([3, 0])), A([[3, 0]]), "ix_")
    with pytest.raises(ValueError, match="1 dimensional"):
        fg.jit(lambda i: np.ix_(i))(A([[1]]))
    for helper in (np.tril_indices_from, np.triu_indices_from, np.diag_indices_from):
        check_value(lambda x, h=helper: x[h(x)], draw(3, 3))
    check_derivatives(lambda x: x[np.triu_indices_from(x, 1)], draw(3, 3))


def test_errors_are_numpys():
    x = draw(3, 4)
    for f in (
        lambda x: np.split(x, 2), lambda x: np.array_split(x, 0), lambda x: np.vsplit(x[0], 2),
        lambda x: np.dsplit(x, 2), lambda x: np.hsplit(x[0, 0], 1), lambda x: np.block([]),
        lambda x: np.block([[x], x]), lambda x: np.hstack([x, x[0]]), lambda x: np.unstack(x[0, 0]),
        lambda x: np.tile(x, -1), lambda x: np.repeat(x, -1), lambda x: np.repeat(x, [1, 2], axis=0),
        lambda x: np.fliplr(x[0]), lambda x: np.flipud(x[0, 0]), lambda x: np.rot90(x, 1, (0, 0)),
        lambda x: np.rot90(x, 1, (0, 5)), lambda x: np.rot90(x, 1, (0,)), lambda x: np.resize(x, -1),
        lambda x: np.diag(x[0, 0]), lambda x: np.diagonal(x[0]), lambda x: np.diagonal(x, 0, 1, 1),
        lambda x: np.vander(x), lambda x: window(x, 5, axis=0), lambda x: window(x, -1, axis=0),
        lambda x: window(x, 2), lambda x: window(x, (2, 2), axis=0), lambda x: np.flip(x, 2),
        lambda x: np.roll(x, 1, axis=2), lambda x: np.rollaxis(x, 0, 5),
        lambda x: np.meshgrid(x, indexing="x"), lambda x: np.broadcast_arrays(x, np.ones(3)),
        lambda x: np.roll(x, (1, 2, 3), axis=(0, 1)), lambda x: np.vstack([x, np.ones(3)]),
    ):  # fmt: skip
        check_refused(f, x, ValueError)
    for f in (
        lambda x: np.delete(x, 12),
        lambda x: np.insert(x, 20, 1.0),
        lambda x: np.delete(x, [3], 0),
    ):
        check_refused(f, x, IndexError)
    with pytest.raises(TypeError, match="tuple"):
        fg.jit(lambda x: np.block((x, x)))(x)


def test_writing_is_refused_with_the_pure_spelling():
    a, i = np.zeros(3), A([0, 1])
    for f, remedy in (
        (lambda x: np.copyto(a, x), "np.where"),
        (lambda x: np.put(x, i, 1.0), "fg.at"),
        (lambda x: np.place(a, a > 0, x), "np.where"),
        (lambda x: np.putmask(a, a > 0, x), "np.where"),
        (lambda x: np.fill_diagonal(x[:, None], 1.0), "fg.at"),
        (lambda x: np.put_along_axis(x, i, x[:2], 0), "fg.at"),
    ):
        with pytest.raises(ArrayMutationError, match=remedy):
            fg.jit(f)(np.ones(3))
    assert not a.any()
