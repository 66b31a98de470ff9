"""What test_pickling sends to other processes: it must be importable there."""

import numpy as np

import fungrad as fg
from fungrad.extend import elementwise

calls = []


def loss(w, x):
    calls.append(1)
    return np.sum(np.tanh(x @ w) ** 2)


jitted = fg.jit(loss)


@fg.jit
def decorated(x):
    """A function that is known by its name only."""
    return np.sin(x) * 2.0


class Model:
    @staticmethod
    @fg.jit
    def method(x):
        return x * 3.0


def gradient(w):
    return fg.grad(loss)(w, np.eye(3))


def program(graph, values):
    """Run a graph that came from elsewhere."""
    from fungrad.compile import run

    return run(graph, values)


def training(params, opt):
    grads = fg.grad(lambda p: np.sum(p["w"] ** 2))(params)
    return opt.update(params, grads)


def cube_value(x):
    return x**3


cube = elementwise(cube_value, lambda y, x: (3 * x**2,), name="pickled_cube")
