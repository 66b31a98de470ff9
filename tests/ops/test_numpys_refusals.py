"""What NumPy refuses, the traced program refuses, by an error of the same class."""

from __future__ import annotations

import numpy as np
import pytest

import fungrad as fg

X = np.linspace(0.5, 2.0, 6)
M = X.reshape(2, 3)
I = np.array([0, 1])

REFUSED = [
    "np.transpose(m, (0,))", "np.transpose(m, (0, 0))", "np.moveaxis(m, (0, 1), 0)",
    "m.astype(int, casting='safe')", "np.block((m, m))", "np.block([[m], []])",
    "np.lexsort([])", "np.lexsort((x, x[1:]))", "np.partition(x, 1, kind='quicksort')",
    "np.partition(x, 9)", "np.select([x > 1], [])", "np.select([], [x])", "np.roll(m, [[1]], 0)",
    "np.vander(m)", "np.bincount(m.astype(int))", "np.bincount(x)",
    "np.ravel_multi_index((x, x), (9, 9))", "np.ravel_multi_index((i, i), (9, 9), mode='no')",
    "np.ravel_multi_index((i, i), (9, 9, 9))", "np.ravel_multi_index((i, i), (9, 9), order='K')",
    "np.unravel_index(x, (9, 9))", "np.add.reduceat(x, [[0]])", "np.add.reduceat(x, [9])",
    "np.subtract.reduce(m, axis=(0, 1))", "np.polyder(x, -1)", "np.polyint(x, -1)",
    "np.polyint(x, 3, [1, 2])", "np.poly(m)", "np.roots(m)", "np.polyfit(x, x, -1)",
    "np.polyfit(m, m, 1)", "np.polyfit(x, m[None], 1)", "np.polyfit(x, x[1:], 1)",
    "np.polyfit(x, x, 1, w=x[1:])", "np.polyfit(x, x, 5, cov=True)", "np.polyfit(x[:0], x[:0], 1)",
    "i ** -i - i", "np.cov(m, x)", "np.pad(x, -1)", "np.pad(x, 1, mode='no')", "np.squeeze(m, 0)",
    "np.concatenate([x, m])", "np.stack([x, m])", "np.concatenate([])", "x.reshape(4)",
    "np.broadcast_to(x, (2, 5))", "m @ m", "np.dot(m, m)", "np.linalg.inv(m)", "np.linalg.det(x)",
    "np.split(x, 4)", "np.take(x, 9)", "x[9]", "m[:, 5]", "m[0, 0, 0]", "np.diff(x, -1)",
    "np.repeat(x, [1, 2])", "np.expand_dims(x, 5)", "np.swapaxes(m, 0, 5)", "np.sum(m, axis=2)",
    "np.cumsum(m, axis=3)", "np.quantile(x, 2.0)", "np.percentile(x, -1)", "np.trace(x)",
    "np.diagonal(x)", "np.einsum('ij,jk', m, m)", "np.tensordot(m, m, 1)", "np.cross(x, x)",
    "np.where(x > 1, x)", "np.interp(x, m, m)", "np.convolve(x, x, 'no')",
    "np.convolve(x, x[:0])", "np.gradient(x[:1])", "np.digitize(x, m)", "np.histogram(x, -1)",
    "np.max(x[:0])", "np.argmax(x[:0])", "np.median(m, axis=4)", "np.average(x, weights=x[1:])",
    "np.choose(i, [x])", "np.insert(x, 99, 1)", "np.delete(x, 99)",
]  # fmt: skip
"""NumPy code that raises, of a vector ``x``, a matrix ``m`` and integers ``i``."""


def called(source, *operands):
    return eval(f"lambda x, m, i: {source}", {"np": np})(*operands)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("source", REFUSED)
def test_refused_by_an_error_of_the_same_class(source):
    try:
        want = called(source, X, M, I)
    except Exception as error:
        with pytest.raises(type(error)):
            fg.trace(lambda x, m: called(source, x, m, I), X, M)
        with pytest.raises(type(error)):
            fg.jit(lambda x, m, i: called(source, x, m, i))(X, M, I)
    else:
        pytest.fail(f"NumPy gives {want}")
