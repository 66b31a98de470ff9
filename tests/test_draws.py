"""Draws of ``np.random`` inside a jitted function: refused where they would be frozen."""

from __future__ import annotations

import random
import threading
from functools import partial
from random import choice

import numpy as np
import pytest

import fungrad as fg
from fungrad.errors import RandomDrawError

RNG = np.random.default_rng(0)
LEGACY = np.random.RandomState(0)
NORMAL = RNG.normal
BOX = {"rng": RNG}


class Model:
    def __init__(self):
        self.rng = np.random.default_rng(1)

    def __call__(self, x):
        return x + self.rng.normal()


def helper(x):
    return x * RNG.uniform()


def default(x, rng=RNG):
    return x + rng.normal()


PYTHONS = random.Random(0)

DRAWS = {
    "random.random": lambda x: x + random.random(),
    "random.gauss": lambda x: x + random.gauss(0, 1),
    "a Random": lambda x: x + PYTHONS.uniform(0, 1),
    "choice": lambda x: x + choice([1.0, 2.0, 3.0]),
    "np.random.normal": lambda x: x + np.random.normal(),  # noqa: NPY002
    "np.random.rand": lambda x: x + np.random.rand(3).sum(),  # noqa: NPY002
    "np.random.permutation": lambda x: x * np.random.permutation(3)[0],  # noqa: NPY002
    "a generator": lambda x: x + RNG.normal(),
    "its method": lambda x: x + NORMAL(),
    "a RandomState": lambda x: x + LEGACY.normal(),
    "in a helper": lambda x: helper(x) + 1,
    "a default": default,
    "in a dict": lambda x: x + BOX["rng"].normal(),
    "an attribute": Model(),
    "partial": partial(lambda rng, x: x + rng.normal(), RNG),
    "shuffle": lambda x: (RNG.shuffle([1, 2, 3]), x)[1],
    "beside a derivative": lambda x: fg.grad(lambda x: x * RNG.normal())(x),
    "in an inner jit": lambda x: fg.jit(lambda x: x + RNG.normal())(x),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws_are_refused(name):
    with pytest.raises(RandomDrawError, match=r"fg\.random.*key") as caught:
        fg.jit(DRAWS[name])(1.0)
    assert caught.value.location


def test_a_closure_and_a_static_argument():
    rng = np.random.default_rng(2)
    with pytest.raises(RandomDrawError):
        fg.jit(lambda x: x + rng.normal())(1.0)
    with pytest.raises(RandomDrawError):
        fg.jit(lambda x, rng: x + rng.normal(), static_argnums=1)(1.0, rng)


def test_every_call_is_refused_and_nothing_is_kept():
    rng, state = np.random.default_rng(3), [True]

    @fg.jit
    def f(x):
        return x + (rng.normal() if state[0] else 0.0)

    for _ in range(2):
        with pytest.raises(RandomDrawError):
            f(1.0)
    state[0] = False
    assert f(1.0) == 1.0


PURE = {
    "a seed of Python's inside": lambda x: x + random.Random(0).random(),
    "a seed inside": lambda x: x + np.random.default_rng(7).normal(),
    "a key": lambda x: x + fg.random.normal(fg.random.key(7), ()),
    "un-jitted": None,
    "seeding": lambda x: (np.random.default_rng(1).spawn(1), x)[1],
}


def test_what_is_pure_works():
    for f in (
        PURE["a seed inside"],
        PURE["a seed of Python's inside"],
        PURE["a key"],
        PURE["seeding"],
    ):
        jitted = fg.jit(f)
        for _ in range(3):
            np.testing.assert_array_equal(jitted(1.0), f(1.0))
    value = fg.grad(lambda x: x * RNG.normal())(1.0)  # un-jitted: a draw for every call
    assert value != fg.grad(lambda x: x * RNG.normal())(1.0)


def test_draws_of_another_thread_are_no_draws_of_this_one():
    stop = threading.Event()

    def draw():
        while not stop.is_set():
            RNG.normal(size=100)
            np.random.normal(size=100)  # noqa: NPY002

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        for n in range(1, 20):
            f = fg.jit(lambda x: np.sum(np.sin(x) * 2))
            np.testing.assert_allclose(f(np.ones(n)), 2 * n * np.sin(1))
    finally:
        stop.set()
        thread.join()


def test_one_draw_of_another_thread_while_tracing_is_no_draw_of_the_function():
    rng, calls = np.random.default_rng(5), []

    def f(x, noisy=False):
        if not calls:  # another thread draws, once, just now
            thread = threading.Thread(target=rng.normal)
            thread.start()
            thread.join()
        calls.append(1)
        return x + rng.normal() if noisy else x

    assert fg.jit(f)(1.0) == 1.0
    assert len(calls) == 2
