"""Writes the page of the docs on kinks and special values: run it as a module.

A row is an expression and a point; the derivatives on the page are computed when it is made. A rule
is a sentence, and a predicate that the derivatives of all its rows must satisfy.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np

import fungrad as fg
from tests.support_page import function_of, versions

PATH = Path(inspect.getfile(fg)).parent / "docs" / "kinks.md"
INF, NAN = np.inf, np.nan


@attrs.frozen
class Row:
    """A function of ``x``, or of ``x`` and ``y``, and a point: one value for each of them."""

    source: str
    point: tuple[Any, ...]

    @property
    def function(self) -> Callable[..., Any]:
        """The expression as a function."""
        return function_of(self.source, "xy")[0]

    @property
    def operands(self) -> list[Any]:
        """The point as NumPy scalars and arrays."""
        return [np.float64(x) if np.isscalar(x) else np.asarray(x, float) for x in self.point]

    @property
    def calm(self) -> bool:
        """Whether NumPy computes a value that is not NaN, without a warning."""
        with np.errstate(all="raise", under="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                return not np.isnan(self.function(*self.operands))
            except (FloatingPointError, RuntimeWarning):
                return False

    def gradient(self) -> tuple[Any, ...]:
        """The derivatives with respect to all operands."""
        operands = self.operands
        result: tuple[Any, ...] = fg.grad(self.function, tuple(range(len(operands))))(*operands)
        return result

    def of_one(self, place: int) -> Callable[[Any], Any]:
        """The function of one operand alone."""
        operands = self.operands

        def partial(x: Any) -> Any:
            return self.function(*operands[:place], x, *operands[place + 1 :])

        return partial


def shared(slopes: Any) -> bool:
    """All that are not 0 are alike, and less than 1."""
    parts = np.unique(np.abs(slopes[slopes != 0]))
    return bool(parts.size == 1 and parts[0] < 1)


def zero(slopes: Any) -> bool:
    """Nothing moves."""
    return bool(np.all(slopes == 0))


def finite(slopes: Any) -> bool:
    """Neither infinite nor NaN."""
    return bool(np.all(np.isfinite(slopes)))


def one(slopes: Any) -> bool:
    """The weights of what is selected sum to the slope of one of them."""
    return bool(np.all(slopes >= 0) and np.isclose(np.sum(slopes), 1))


def infinite(slopes: Any) -> bool:
    """One at least is infinite, and none NaN."""
    return bool(np.any(np.isinf(slopes)) and not np.any(np.isnan(slopes)))


def missing(slopes: Any) -> bool:
    """One at least is NaN."""
    return bool(np.any(np.isnan(slopes)))


@attrs.frozen
class Rule:
    """What the policy says, and where that is to be seen.

    Attributes:
        title: the rule in a few words.
        text: the rule.
        holds: whether the derivatives at a row, as one vector, are as the rule says.
        rows: the points.
    """

    title: str
    text: str
    holds: Callable[[Any], bool]
    rows: tuple[Row, ...]


def _rows(table: str) -> tuple[Row, ...]:
    """Rows from lines of an expression and its points, divided by bars."""

    def read() -> Iterator[Row]:
        for line in filter(None, map(str.strip, table.splitlines())):
            source, *points = map(str.strip, line.split("|"))
            for point in points:
                value = eval(point, {"inf": INF, "nan": NAN, "pi": np.pi})
                yield Row(source, value if isinstance(value, tuple) else (value,))

    return tuple(read())


RULES = (
    Rule("Ties share evenly",
         "Where several operands or entries are the extremum, each gets the same part of the "
         "derivative. A bound that is a number takes its part, too: at a bound, `np.clip` has "
         "slope 0.5, midway between 0 and 1, and so has `np.maximum(x, 0)`.", shared, _rows("""
        np.maximum(x, y) | 1.0, 1.0 | 0.0, -0.0 | inf, inf | -inf, -inf
        np.minimum(x, y) | 1.0, 1.0 | 0.0, -0.0 | inf, inf
        np.fmax(x, y) | 1.0, 1.0
        np.fmin(x, y) | 1.0, 1.0
        np.maximum(x, 0) | 0.0 | -0.0
        np.clip(x, 0, 1) | 0.0 | 1.0
        np.clip(x, y, 2) | 1.0, 1.0
        np.max(x) | ([1, 1, 0],) | ([1, 1, 1],) | ([inf, inf, 0],)
        np.min(x) | ([1, 1, 3],) | ([-inf, -inf, 0],)
        np.nanmax(x) | ([nan, 1, 1],)
        np.nanmin(x) | ([nan, 1, 1],)
        np.maximum.accumulate(x)[1] | ([1, 1],)
        np.linalg.norm(x, np.inf) | ([1, 1],)
        np.logaddexp(x, y) | 1.0, 1.0 | inf, inf | -inf, -inf
        np.logaddexp2(x, y) | inf, inf | -inf, -inf
        fg.nn.logsumexp(x) | ([-inf, -inf],)
    """)),
    Rule("Corners, and what has no direction: 0",
         "At a minimum with a corner the derivative is 0, which is among its subgradients. A norm, "
         "a standard deviation and an angle at the origin have derivative 0. `relu` has slope 0 "
         "at 0.", zero, _rows("""
        np.abs(x) | 0.0 | -0.0
        np.fabs(x) | 0.0 | -0.0
        fg.nn.relu(x) | 0.0 | -0.0
        np.linalg.norm(x) | 0.0 | ([0, 0],) | ([[0, 0], [0, 0]],)
        np.linalg.norm(x, 1) | ([0, 0],)
        np.linalg.norm(x, 3) | ([0, 0],)
        np.linalg.norm(x, np.inf) | ([0, 0],)
        np.linalg.norm(x, 2) | ([[0, 0], [0, 0]],)
        np.linalg.norm(x, "nuc") | ([[0, 0], [0, 0]],)
        np.linalg.norm(x - y) | ([1, 1], [1, 1])
        np.hypot(x, y) | 0.0, 0.0 | 0.0, -0.0
        np.std(x) | ([1, 1],) | ([1],)
        np.ptp(x) | ([1, 1, 1],)
        np.nanstd(x) | ([nan, 2, 2],)
        np.arctan2(x, y) | 0.0, 0.0 | 0.0, -0.0 | 0.0, inf
        np.copysign(x, y) | 0.0, 1.0 | 0.0, -1.0
        sc.huber(1.0, x) | 0.0
    """)),
    Rule("Steps have derivative 0, also where they jump",
         "What is constant between its jumps has derivative 0 everywhere.", zero, _rows("""
        np.sign(x) | 0.0 | -0.0 | inf
        np.floor(x) | 1.0 | -1.0
        np.ceil(x) | 1.0
        np.trunc(x) | 0.0 | 1.0
        np.fix(x) | 1.0
        np.rint(x) | 0.5 | 1.5
        np.round(x) | 0.5
        np.round(x, 1) | 0.25
        np.floor_divide(x, y) | 2.0, 1.0 | -2.0, 1.0
        np.heaviside(x, 0.5) | 0.0 | 1.0
        np.spacing(x) | 1.0
        np.nan_to_num(x) | nan | inf | -inf
    """)),
    Rule("One side of a jump or corner is taken",
         "Where the function is linear on both sides, the derivative is that of the piece to which "
         "the point belongs.", finite, _rows("""
        np.remainder(x, y) | 2.0, 1.0 | -2.0, 1.0 | 1.0, inf
        np.fmod(x, y) | 2.0, 1.0 | -2.0, 1.0 | 1.0, inf
        np.divmod(x, y)[1] | 2.0, 1.0
        np.modf(x)[0] | 1.0
        np.frexp(x)[0] | 1.0 | 0.0
        np.copysign(x, y) | 1.0, 0.0 | 1.0, -0.0
        np.heaviside(x, y) | 0.0, 0.5
        np.nextafter(x, y) | 1.0, 1.0
        np.unwrap(x)[1] | ([0, pi],)
        np.interp(x, [0, 1, 2], [0, 1, 0]) | 0.0 | 1.0 | 2.0
        np.linalg.norm(x, 1) | ([0, 1],)
        fg.nn.leaky_relu(x) | 0.0
        fg.nn.elu(x) | 0.0
        sc.huber(1.0, x) | 1.0 | -1.0
    """)),
    Rule("Order: one entry for each place",
         "Sorting with ties is a permutation, and a quantile that of the sorted entries: equal "
         "entries are told apart by their order.", one, _rows("""
        np.sort(x)[0] | ([1, 1, 1],)
        np.partition(x, 1)[0] | ([1, 1, 2],)
        np.median(x) | ([1, 1, 1],) | ([1, 1, 0, 3],)
        np.nanmedian(x) | ([nan, 1, 1],)
        np.quantile(x, 0.25) | ([1, 1, 1],)
        np.percentile(x, 50) | ([1, 1],)
    """)),
    Rule("Only what is selected has a derivative",
         "A branch, bound or entry that is not taken adds nothing, also where its own slope is "
         "infinite or NaN. (It is computed, and so is its slope; their warnings are NumPy's.)",
         finite, _rows("""
        np.where(x > 0, x, 0) | 0.0 | nan
        np.where(x > 0, np.sqrt(x), 0) | 0.0 | -1.0
        np.where(x > 0, np.log(x), x) | 0.0 | -1.0
        np.where(x == 0, 1, np.sin(x) / x) | 0.0
        np.fmax(x, y) | nan, 1.0 | 1.0, nan
        np.maximum(np.sqrt(x), 1) | 0.0
        np.max(np.sqrt(x)) | ([0, 4],)
        np.nansum(x) | ([nan, 2],)
        np.nanprod(x) | ([nan, 2],)
        np.nanmean(x) | ([nan, 2],)
    """)),
    Rule("The finite side wins",
         "A derivative that exists as a limit is that limit, where the formula of the textbook gives "
         "`0 * inf`, `0 / 0` or `inf - inf`.", finite, _rows("""
        np.sinc(x) | 0.0 | 1.0
        np.power(x, y) | 0.0, 2.0 | 0.0, 1.0 | 0.0, 0.0 | 0.5, inf | 1.0, inf
        x ** 2 | 0.0
        x ** 1 | 0.0
        x ** 0 | 0.0 | inf
        0.0 ** x | 0.0 | 2.0
        2.0 ** x | -inf
        np.prod(x) | ([0, 2],) | ([0, 0],)
        np.cumprod(x)[1] | ([0, 2],) | ([0, 0],)
        np.linalg.det(x) | ([[0, 0], [0, 0]],) | ([[0, 1], [0, 2]],)
        np.hypot(x, y) | inf, 1.0 | -inf, 1.0 | inf, inf
        np.logaddexp(x, y) | inf, -inf | -inf, 1.0 | inf, 1.0
        fg.nn.logsumexp(x) | ([-inf, 1],) | ([inf, 1],)
        fg.nn.softmax(x)[0] | ([-inf, 1],) | ([-inf, -inf],)
        fg.nn.log_softmax(x)[1] | ([-inf, 1],)
        fg.nn.softplus(x) | inf | -inf
        fg.nn.log_sigmoid(x) | inf | -inf
        fg.nn.sigmoid(x) | inf | -inf
        fg.nn.silu(x) | inf | -inf
        fg.nn.gelu(x) | inf | -inf
        np.sqrt(x) | inf
        np.log(x) | inf
        np.arctan(x) | inf
        np.tanh(x) | inf
        np.exp(x) | -inf
        1 / x | inf
        sc.xlogy(x, y) | 0.0, 2.0
        sc.rel_entr(x, y) | 0.0, 0.0
        sc.kl_div(x, y) | 0.0, 0.0
        sc.boxcox(x, y) | 1.0, 0.0
        sc.exprel(x) | 0.0
        sc.rgamma(x) | 0.0 | -1.0
        sc.j1(x) | 0.0
        sc.i0e(x) | 0.0
        np.mean(x) | ([inf, 1],)
    """)),
    Rule("Infinite slopes are infinite",
         "Where the graph is vertical, or at a pole, the derivative is `inf` or `-inf`, often with "
         "NumPy's warning. Guard it with `np.where`, or add a small number.", infinite, _rows("""
        np.sqrt(x) | 0.0
        np.cbrt(x) | 0.0
        x ** 0.5 | 0.0
        np.power(x, y) | 0.0, 0.5 | 2.0, inf | inf, 0.0
        np.log(x) | 0.0
        np.log2(x) | 0.0
        np.log10(x) | 0.0
        np.log1p(x) | -1.0
        np.reciprocal(x) | 0.0 | -0.0
        1 / x | 0.0
        np.divide(x, y) | 1.0, 0.0
        np.arcsin(x) | 1.0 | -1.0
        np.arccos(x) | 1.0 | -1.0
        np.arccosh(x) | 1.0
        np.arctanh(x) | 1.0 | -1.0
        np.exp(x) | inf
        sc.xlogy(x, y) | 0.0, 0.0 | 1.0, 0.0
        sc.xlog1py(x, y) | 0.0, -1.0
        sc.entr(x) | 0.0
        sc.rel_entr(x, y) | 0.0, 1.0 | 1.0, 0.0
        sc.kl_div(x, y) | 0.0, 1.0
        sc.logit(x) | 0.0 | 1.0
        sc.erfinv(x) | 1.0
        sc.ndtri(x) | 0.0
        sc.gamma(x) | 0.0 | -0.0
        sc.gammaln(x) | 0.0
        sc.psi(x) | 0.0
        sc.y0(x) | 0.0
        sc.k0(x) | 0.0
        sc.expi(x) | 0.0
        sc.ellipk(x) | 1.0
        sc.ellipe(x) | 1.0
        sc.spence(x) | 0.0
    """)),
    Rule("NaN: no derivative, of either sign",
         "What remains: outside of the domain, poles whose sides differ, the logarithm of a "
         "singular determinant, the exponent of a negative base, and textbook formulas composed by "
         "hand (`np.linalg.norm` knows better).",
         missing, _rows("""
        np.sqrt(x) | -1.0
        np.sin(x) | inf
        np.divide(x, y) | 0.0, 0.0
        np.power(x, y) | -2.0, 2.0
        (-2.0) ** x | 2.0
        sc.gamma(x) | -1.0
        sc.gammaln(x) | -1.0
        np.sqrt(np.sum(x * x)) | ([0, 0],)
        np.linalg.slogdet(x)[1] | ([[0, 0], [0, 0]],) | ([[0, 1], [0, 2]],)
    """)),
)  # fmt: skip


def shown(value: Any) -> str:
    """A number or an array in short, without signs of zero."""
    value = np.asarray(value, float) + 0.0
    if value.ndim:
        return f"[{', '.join(map(shown, value))}]"
    return f"{value:.4g}"


def _line(row: Row) -> str:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value, slopes = row.function(*row.operands), row.gradient()
    point = ", ".join(f"{x!r}" for x in row.point)
    return f"| `{row.source}` | {point} | {shown(value)} | {', '.join(map(shown, slopes))} |"


def text() -> str:
    """The page as Markdown."""
    count = sum(len(rule.rows) for rule in RULES)
    out = [
        "# Kinks and special values",
        "",
        f"What fungrad gives where a derivative does not exist, or the formula fails: {count} points.",
        f"This page is generated (`python -m tests.kinks_page`, with {versions()}), and a test",
        "checks each point: reverse mode, forward mode, `jit`, un-jitted and `vmap` agree; the",
        "rule holds; and nothing warns where the function does not and the derivative is finite,",
        "but for branches not taken. Forward mode here differentiates by one operand at a time:",
        "along a tangent that is 0 for an operand whose slope is infinite, `0 * inf` is NaN.",
        "",
        "`sc` is `scipy.special`, `fg` is fungrad. The columns show the value, and the derivative",
        "with respect to each operand. Where the value is NaN, derivatives mean nothing.",
        "",
    ]
    for rule in RULES:
        out += [f"## {rule.title}", "", rule.text, ""]
        out += ["| function | at | value | derivative |", "|---|---|---|---|"]
        out += [*map(_line, rule.rows), ""]
    return "\n".join(out).rstrip() + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
