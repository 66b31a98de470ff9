"""``np.einsum`` in all its forms, against NumPy itself."""

from __future__ import annotations

import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fungrad as fg
from fungrad.ops.linear import matmul_p
from tests.ops._linear_calls import check, check_value, normal

CALLS = [
    # one operand
    ("i->i", (3,)), ("i->", (3,)), ("i", (3,)), ("ij", (2, 3)), ("ba", (2, 3)), ("ij->ji", (2, 3)),
    ("ij->j", (2, 3)), ("ij->", (2, 3)), ("ii", (3, 3)), ("ii->", (3, 3)), ("ii->i", (3, 3)),
    ("iji->ij", (3, 2, 3)), ("iji->j", (3, 2, 3)), ("iiii->i", (2, 2, 2, 2)), ("iii->", (3, 3, 3)),
    ("abab->ba", (2, 3, 2, 3)), ("abcd->bd", (3, 2, 3, 2)), ("Ba", (2, 3)), ("->", ()), ("", ()),
    ("...->...", (2, 3)), ("...i->...", (2, 3)), ("i...->...i", (2, 3)), ("...ii->...i", (2, 3, 3)),
    ("...", ()), ("i...->i...", (3,)), (" i j -> j i ", (2, 3)), ("kji->ikj", (2, 3, 4)),
    # two operands
    ("i,i", (3,), (3,)), ("i,i->i", (3,), (3,)), ("i,j", (2,), (3,)), ("i,j->ji", (2,), (3,)),
    ("ij,jk", (2, 3), (3, 4)), ("ij,jk->ki", (2, 3), (3, 4)), ("ij,kj->ik", (2, 3), (4, 3)),
    ("ji,jk->ik", (3, 2), (3, 4)), ("ij,j->i", (2, 3), (3,)), ("j,ij->i", (3,), (2, 3)),
    ("ij,ij->", (2, 3), (2, 3)), ("ij,ij->i", (2, 3), (2, 3)), ("ij,ji->", (2, 3), (3, 2)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 2)), ("bij,bj->bi", (2, 3, 4), (2, 4)),
    ("bj,bjk->bk", (2, 4), (2, 4, 3)), ("bij,kj->bik", (2, 3, 4), (5, 4)),
    ("bqhd,bkhd->bhqk", (2, 3, 2, 4), (2, 5, 2, 4)), ("bik,bjk->ij", (2, 3, 4), (2, 5, 4)),
    ("aik,ija->jk", (2, 3, 4), (3, 5, 2)), ("abc,cba->", (2, 3, 4), (4, 3, 2)),
    ("ij,kl->", (2, 3), (2, 2)), ("ij,kl->il", (2, 3), (2, 2)), ("ij,k->j", (2, 3), (4,)),
    ("nd,nn->d", (4, 2), (4, 4)), ("ii,ij->j", (3, 3), (3, 2)), ("ii,jj->ij", (2, 2), (3, 3)),
    (",ij->ji", (), (2, 3)), (",", (), ()), ("i,->i", (3,), ()),
    ("...i,...i->...", (2, 3), (2, 3)), ("...i,i", (2, 3, 2), (2,)), ("...ij,...jk", (3, 2, 2), (2, 2)),
    ("...ij,...jk->...ik", (5, 1, 2, 3), (4, 3, 2)), ("i...,...i->...", (3, 2), (4, 2, 3)),
    ("...,...", (2, 1), (3,)), ("...a,...b->ab...", (2, 2), (2, 3)),
    # axes of length 1 go with any length
    ("i,i", (2,), (1,)), ("i,i", (1,), (2,)), ("i,i->i", (1,), (3,)), ("ij,ij->i", (2, 1), (2, 3)),
    ("ij,jk->ik", (2, 1), (3, 4)), ("ij,ij->ij", (2, 1), (1, 3)), ("ii,i->i", (1, 1), (3,)),
    ("i,i->", (1,), (1,)), ("bij,bjk->bik", (1, 2, 3), (4, 3, 2)),
    # many operands
    ("i,i,i->", (3,), (3,), (3,)), ("i,j,k->kij", (2,), (3,), (4,)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)), ("ij,jk,kl,lm", (2, 3), (3, 2), (2, 3), (3, 2)),
    ("bi,ij,bj->b", (4, 2), (2, 3), (4, 3)), ("ea,fb,abcd,gc,hd->efgh",
     (2, 2), (3, 2), (2, 2, 2, 2), (2, 2), (3, 2)), ("i,i,i->i", (1,), (3,), (1,)),
    ("...i,ij,...j->...", (2, 3), (3, 2), (4, 1, 2)), (",i,", (), (3,), ()),
    # nothing to sum, or nothing at all
    ("ij,jk->ik", (2, 0), (0, 3)), ("ij,jk->ik", (0, 2), (2, 3)), ("i->", (0,)), ("ii->i", (0, 0)),
    ("i,i->i", (0,), (1,)), ("bi,bi->b", (0, 3), (0, 3)),
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_every_form(call):
    subscripts, *shapes = call
    operands = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    order = 1 if len(shapes) > 2 else 2
    check(lambda *x: np.einsum(subscripts, *x), *operands, what=subscripts, order=order)


@pytest.mark.parametrize(
    "subscripts", ["ij,jk->ik", "ij,kl->i", "bi,bi->b", "ii,i->", "i...,...j->ij..."]
)
@pytest.mark.parametrize("dtype", ["bool", "int8", "int64", "float16", "complex64", "complex128"])
def test_dtypes(subscripts, dtype):
    rng = np.random.default_rng(0)
    shapes = {"ii,i->": ((3, 3), (3,))}.get(subscripts, ((3, 3), (3, 3)))
    unit = 1 + 0.5j if dtype[0] == "c" else 1
    a, b = [(rng.integers(0, 2, s) * unit).astype(dtype) for s in shapes]
    check_value(lambda a, b: np.einsum(subscripts, a, b), a, b, what=dtype)
    check_value(lambda a, b: np.einsum(subscripts, a, b), a, b.real.astype("float32"), what=dtype)


def test_complex_gradients():
    a, b = normal(2, 3, dtype=complex), normal(2, 3, dtype=complex)
    for subscripts in ("ij,ij->i", "ij,ij->", "ij,kj->ik", "ij,ij->ij"):
        check(lambda a, b, s=subscripts: np.einsum(s, a, b), a, b, what=subscripts)


def test_interleaved_form():
    a, b = normal(2, 3), normal(3, 4)
    check(lambda a, b: np.einsum(a, [0, 1], b, [1, 2]), a, b)
    check(lambda a, b: np.einsum(a, [0, 1], b, [1, 2], [2, 0]), a, b)
    check(lambda a, b: np.einsum(a, [27, 3], b, [3, 1]), a, b)
    check(lambda a: np.einsum(a, [Ellipsis, 0], [0, Ellipsis]), normal(2, 3, 4))
    check(lambda a: np.einsum(a, [0, 0]), normal(3, 3))
    check(lambda a, c: np.einsum(a, [..., 0], c, [0], [...]), normal(2, 3, 4), normal(4))


@pytest.mark.parametrize(
    "optimize",
    [True, False, "greedy", "optimal", ("greedy", 100), ["einsum_path", (1, 2), (0, 1)],
     ["einsum_path", (0, 1, 2)]],
    ids=str,
)  # fmt: skip
def test_optimize(optimize):
    operands = normal(2, 3), normal(3, 4), normal(4, 2)
    check(lambda *x: np.einsum("ij,jk,kl->li", *x, optimize=optimize), *operands, order=1)


def test_dtype_and_casting():
    a = normal(3)
    check_value(lambda a: np.einsum("i->", a, dtype=np.float64), a.astype("f"))
    check_value(lambda a: np.einsum("i->", a, dtype=np.float32, casting="same_kind"), a)
    check_value(lambda a: np.einsum("i,->i", a, 2.0), a.astype("f"))  # 2.0 is a float64 array here
    check_value(lambda s, a: np.einsum(",i->i", s, a), 2.0, a.astype("f"))
    with pytest.raises(TypeError, match="same_kind|safe"):
        fg.jit(lambda a: np.einsum("i->", a, dtype=np.float32))(a)


def test_order_of_memory_does_not_matter():
    a, b = normal(6, 8)[::2, ::-1], np.asfortranarray(normal(8, 3))
    check(lambda a, b: np.einsum("ij,jk->ki", a, b), a, b)


def test_path_of_traced_operands():
    paths = []

    def function(a, b):
        paths.append(np.einsum_path("ij,jk,kl->il", a, b, a)[0])
        return np.einsum("ij,jk->", a, b)

    a, b = normal(2, 3), normal(3, 2)
    fg.jit(function)(a, b)
    assert paths == [np.einsum_path("ij,jk,kl->il", a, b, a)[0]]


@pytest.mark.parametrize(
    "call",
    [
        ("i,j", (3,)), ("i", (3,), (3,)), ("ij->ii", (2, 3)), ("ij->k", (2, 3)), ("i1", (3, 3)),
        ("ij,jk", (2, 3), (4, 2)), ("ij", (2,)), ("ij->", (2, 3, 2)), ("ii", (2, 3)),
        ("ii", (1, 3)), ("...i->i", (2, 3)), ("...i,i->i", (2, 3), (3,)), ("i..->i", (2, 3)),
        ("i......", (3,)), ("i...j...", (3, 3)), ("i->j->k", (3,)),
    ],
    ids=str,
)  # fmt: skip
def test_refuses_what_numpy_refuses(call):
    subscripts, *shapes = call
    operands = [np.ones(shape) for shape in shapes]
    with pytest.raises(ValueError, match=r"\w"):
        np.einsum(subscripts, *operands)
    with pytest.raises(ValueError, match="^einsum"):
        fg.jit(lambda *x: np.einsum(subscripts, *x))(*operands)


def test_contractions_are_matrix_products():
    def products(subscripts, *shapes):
        operands = [np.ones(shape) for shape in shapes]
        graph = fg.trace(lambda *x: np.einsum(subscripts, *x), *operands)
        return [node.args[0].aval.shape for node in graph.nodes if node.primitive is matmul_p]

    assert products("bij,jk->bik", (5, 2, 3), (3, 4)) == [(10, 3)]  # one product, not five
    assert products("bqhd,bkhd->bhqk", (2, 3, 4, 5), (2, 6, 4, 5)) == [(2, 4, 3, 5)]
    assert len(products("ij,jk,kl,lm->im", *[(3, 3)] * 4)) == 3


@st.composite
def contractions(draw):
    """Random subscripts of one to three operands, with repeated labels and lengths of 1."""
    labels = string.ascii_letters[: draw(st.integers(1, 4))]
    sizes = {label: draw(st.integers(1, 3)) for label in labels}
    terms = draw(st.lists(st.text(labels, max_size=3), min_size=1, max_size=3))
    used = sorted({label for term in terms for label in term})
    output = "".join(draw(st.permutations(used))[: draw(st.integers(0, len(used)))])
    thin = [{x: draw(st.booleans()) for x in set(term)} for term in terms]
    shapes = [
        tuple(1 if ones[x] else sizes[x] for x in term)
        for term, ones in zip(terms, thin, strict=True)
    ]
    implicit = draw(st.booleans())
    return ",".join(terms) + ("" if implicit else "->" + output), shapes


@given(contractions())
def test_random_contractions(case):
    subscripts, shapes = case
    operands = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    function = lambda *x: np.einsum(subscripts, *x)
    check_value(function, *operands, what=subscripts)
    value, pull = fg.vjp(function, *operands)
    ct = normal(*np.shape(value), seed=9)
    # Linear in each operand: ⟨ct, f(…, x, …)⟩ = ⟨gradient, x⟩.
    for gradient, operand in zip(pull(ct), operands, strict=True):
        np.testing.assert_allclose(np.sum(gradient * operand), np.sum(ct * value), 1e-9, 1e-9)
