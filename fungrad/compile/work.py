"""About how long operations take: what is worth waking another thread for.

In: an operation. Out: nanoseconds, right to a factor of a few on a processor of today.
"""

from __future__ import annotations

from math import prod

from fungrad._expr import Expr
from fungrad._primitive import Primitive
from fungrad.ops import elementwise
from fungrad.ops.cumulative import cumprod_p, cumsum_p, prod_p
from fungrad.ops.decompositions import cholesky_p, qr_p
from fungrad.ops.eigenvalues import eigh_p, eigvalsh_p
from fungrad.ops.fft import fft_p, ifft_p, irfft_p, rfft_p
from fungrad.ops.indexing import getitem_p
from fungrad.ops.inverses import inv_p, inverse_p
from fungrad.ops.linalg import refined_p, solve_p
from fungrad.ops.linear import matmul_p, vecdot_p
from fungrad.ops.reduction import all_p, any_p, argmax_p, argmin_p, max_p, min_p, sum_p
from fungrad.ops.shape import astype_p
from fungrad.ops.singular import svd_p, svdvals_p
from fungrad.ops.softmax import SHARING, exponentials_p
from fungrad.ops.sorting import argsort_p, sort_p
from fungrad.ops.triangular import cholesky_cotangent_p

BUSY = 250_000
"""From how many nanoseconds on other threads are woken; that takes 20 µs, and more on a busy machine."""

QUICK = 0.25
"""What an entry takes at least: to be loaded and stored."""
SLOW = 1.0
"""What an entry of a function takes that is no arithmetic."""

_ARITHMETIC = frozenset(
    {
        elementwise.absolute,
        elementwise.add,
        elementwise.divide,
        elementwise.maximum,
        elementwise.minimum,
        elementwise.multiply,
        elementwise.negative,
        elementwise.positive,
        elementwise.square,
        elementwise.subtract,
        astype_p,
    }
)

OF_ENTRY: dict[Primitive | None, float] = {
    **dict.fromkeys((sum_p, max_p, min_p, all_p, any_p, argmax_p, argmin_p), QUICK),
    **dict.fromkeys((prod_p, getitem_p), 1.0),
    **dict.fromkeys((cumprod_p, cumsum_p, irfft_p, rfft_p, sort_p, exponentials_p, *SHARING), 3.0),
    **dict.fromkeys((fft_p, ifft_p, argsort_p), 10.0),
}
"""What functions of lines of entries, or of positions, take for an entry."""

OF_CUBE: dict[Primitive | None, float] = {
    **dict.fromkeys((cholesky_cotangent_p, cholesky_p, refined_p), 0.1),
    **dict.fromkeys((inv_p, inverse_p, qr_p, solve_p), 0.4),
    **dict.fromkeys((eigvalsh_p, svdvals_p), 1.5),
    **dict.fromkeys((eigh_p, svd_p), 3.0),
}
"""What functions of matrices take, divided by the third power of how many rows there are.

Of those that let other threads run: NumPy's determinants do not, and nor do many short steps.
"""


def nanoseconds(node: Expr) -> float:
    """How long ``node`` takes on one thread."""
    primitive, shape = node.primitive, node.args[0].aval.shape if node.args else ()
    assert primitive is not None
    if primitive is matmul_p:
        return multiplications(node) / 16
    if primitive is vecdot_p:
        return QUICK * node.args[0].aval.size
    if primitive in OF_CUBE:
        return OF_CUBE[primitive] * prod(shape) * shape[-1]
    if primitive in OF_ENTRY:
        return OF_ENTRY[primitive] * (node if primitive is getitem_p else node.args[0]).aval.size
    quick = primitive in _ARITHMETIC or node.aval.dtype.kind == "b"
    return (QUICK if quick or not primitive.elementwise else SLOW) * node.aval.size


def multiplications(node: Expr) -> int:
    """How many numbers a product multiplies with others."""
    return node.aval.size * node.args[0].aval.shape[-1]
