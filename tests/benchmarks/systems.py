"""The systems side by side: their namespaces, and how each one spells what a workload asks for.

A system is imported only in the process that measures it.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from tests.benchmarks.record import LEARNING_RATE, Workload, flat, mapped

Run = Callable[[], Any]
"""One complete evaluation; the results are there when it returns."""


class Dialect:
    """A namespace ``np`` for programs: a module, and the functions that it spells otherwise."""

    def __init__(self, module: Any, **spellings: Any) -> None:
        self._module = module
        self.__dict__.update(spellings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def length(self, x: Any, axis: int) -> int:
        """The length of an axis, known while the program is built."""
        return int(x.shape[axis])


def repeat_step(steps: int, step: Callable[[Any], Any], state: Any) -> Any:
    """The Python loop, for systems in which that is the natural spelling."""
    for _ in range(steps):
        state = step(state)
    return state


class System:
    """How one system does the seven kinds of work.

    Attributes:
        modules: what is imported, first of all the system itself.
        counts_memory: whether its arrays are NumPy's, so that ``tracemalloc`` sees them.
    """

    modules: tuple[str, ...] = ()
    counts_memory = False

    np: Any
    """The namespace that programs use."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        start = time.perf_counter()
        for name in self.modules:
            importlib.import_module(name)
        self.import_seconds = time.perf_counter() - start
        self.start()

    def __getitem__(self, name: str) -> Any:
        return sys.modules[name]

    def start(self) -> None:
        """Set ``np``, and up the system."""

    def array(self, value: Any) -> Any:
        """A float or NumPy array as this system holds it."""
        return value

    def numpy(self, value: Any) -> Any:
        """A result as a NumPy array."""
        return numpy.asarray(value)

    def release(self) -> None:
        """Give back memory that is kept between calls."""

    def wait(self, result: Any) -> Any:
        """``result``, once it is computed."""
        return result

    def prepare(self, workload: Workload, inputs: Sequence[Any]) -> Run:
        """One evaluation as a function without arguments."""
        inputs = mapped(self.array, tuple(inputs))
        function = getattr(self, workload.kind)(workload, inputs)
        if workload.kind == "batches":
            return self._with_new_sizes(workload, function, inputs)
        return lambda: self.wait(function(*inputs))

    def _with_new_sizes(self, workload: Workload, function: Any, inputs: Sequence[Any]) -> Run:
        params, x, labels = inputs
        smallest, calls = len(x) - workload.calls, [0]

        def run() -> Any:
            size = max(smallest, 32) + calls[0] % workload.calls
            calls[0] += 1
            return self.wait(function(params, x[:size], labels[:size]))

        return run


class Manual(System):
    """The gradient that a careful person writes by hand, in NumPy."""

    modules = ("numpy",)
    counts_memory = True

    def prepare(self, workload: Workload, inputs: Sequence[Any]) -> Run:
        """One evaluation as a function without arguments."""
        if workload.kind == "batches":
            return self._with_new_sizes(workload, workload.manual, inputs)
        return lambda: workload.manual(*inputs)


class Functional(System):
    """Systems with ``grad`` as a function of functions; ``compiled`` is their ``jit``, if any."""

    def compiled(self, function: Any) -> Any:
        """What the user calls."""
        return function

    def _program(self, workload: Workload) -> Any:
        program, np = workload.program, self.np
        return lambda *inputs: program(np, *inputs)

    def value_and_grad(self, workload: Workload, inputs: Any) -> Any:
        """The loss and its derivatives with respect to ``wrt``."""
        return self.compiled(self.np.value_and_grad(self._program(workload), workload.wrt))

    def step(self, workload: Workload, inputs: Any) -> Any:
        """One step of gradient descent: the loss and the next parameters."""
        gradient = self.np.value_and_grad(self._program(workload), (0,))

        def step(params: Any, *data: Any) -> Any:
            value, (grads,) = gradient(params, *data)
            return value, [p - LEARNING_RATE * g for p, g in zip(params, grads, strict=True)]

        return self.compiled(step)

    def hvp(self, workload: Workload, inputs: Any) -> Any:
        """The product of the Hessian with a vector, the second input."""
        program = self._program(workload)

        def product(x: Any, v: Any, *data: Any) -> Any:
            gradient = self.np.grad(lambda x: program(x, *data))
            return self.np.push(gradient, x, v)

        return self.compiled(product)

    def hessian(self, workload: Workload, inputs: Any) -> Any:
        """All second derivatives."""
        return self.compiled(self.np.hessian(self._program(workload)))

    def derivative(self, workload: Workload, inputs: Any) -> Any:
        """The derivative of some order of an elementwise function."""
        function = self._program(workload)
        for _ in range(workload.order):
            function = self._slope(function)
        return self.compiled(function)

    def _slope(self, function: Any) -> Any:
        return self.np.grad(lambda x: self.np.sum(function(x)))

    def closure(self, workload: Workload, inputs: Any) -> Any:
        """The derivative of a function that is made anew at every call."""

        def fresh(w: Any, x: Any) -> Any:
            return self.compiled(self.np.grad(lambda w: workload.program(self.np, w, x)))(w)

        return fresh

    def batches(self, workload: Workload, inputs: Any) -> Any:
        """``value_and_grad`` of a batch of any size."""
        return self.value_and_grad(workload, inputs)


class Fungrad(Functional):
    """fungrad without ``jit``."""

    modules = ("fungrad",)
    counts_memory = True

    def start(self) -> None:
        """Set ``np``, and up the system."""
        fg = self["fungrad"]
        fg.config(threads=self.threads)
        self.np = Dialect(
            numpy,
            grad=fg.grad,
            value_and_grad=fg.value_and_grad,
            hessian=fg.hessian,
            push=lambda gradient, x, v: fg.jvp(gradient, (x,), (v,))[1],
            repeat_step=repeat_step,
            softplus=lambda x: numpy.logaddexp(0.0, x),
            sigmoid=fg.nn.sigmoid,
            relu=fg.nn.relu,
            logsumexp=lambda x, axis: fg.nn.logsumexp(x, axis),
            conv=fg.nn.conv,
            max_pool=lambda x: fg.nn.max_pool(x, (2, 2)),
            cholesky=numpy.linalg.cholesky,
            solve=numpy.linalg.solve,
            solve_lower=numpy.linalg.solve,
            slogdet=numpy.linalg.slogdet,
        )

    def release(self) -> None:
        """Give back memory that is kept between calls."""
        sys.modules["fungrad.compile.pool"].release()


class FungradJit(Fungrad):
    """fungrad with ``jit``."""

    def compiled(self, function: Any) -> Any:
        """What the user calls."""
        return self["fungrad"].jit(function)


class Jax(Functional):
    """JAX with ``jax.jit``, in double precision where the inputs are."""

    modules = ("jax", "jax.numpy", "jax.scipy.linalg", "jax.nn")

    def start(self) -> None:
        """Set ``np``, and up the system."""
        jax, jnp = self["jax"], self["jax.numpy"]
        jax.config.update("jax_enable_x64", True)

        def window(x: Any) -> Any:
            n, c, h, w = x.shape
            return jnp.max(x.reshape(n, c, h // 2, 2, w // 2, 2), axis=(3, 5))

        def scanned(steps: int, step: Any, state: Any) -> Any:
            return jax.lax.scan(lambda s, _: (step(s), None), state, None, length=steps)[0]

        self.np = Dialect(
            jnp,
            grad=jax.grad,
            value_and_grad=jax.value_and_grad,
            hessian=jax.hessian,
            push=lambda gradient, x, v: jax.jvp(gradient, (x,), (v,))[1],
            repeat_step=scanned,
            softplus=jax.nn.softplus,
            sigmoid=jax.nn.sigmoid,
            relu=jax.nn.relu,
            logsumexp=lambda x, axis: jax.nn.logsumexp(x, axis),
            conv=lambda x, w: jax.lax.conv(x, w, (1, 1), "VALID"),
            max_pool=window,
            cholesky=jnp.linalg.cholesky,
            solve=jnp.linalg.solve,
            solve_lower=lambda a, b: self["jax.scipy.linalg"].solve_triangular(a, b, lower=True),
            slogdet=jnp.linalg.slogdet,
        )

    def array(self, value: Any) -> Any:
        """A float or NumPy array as this system holds it."""
        return self["jax.numpy"].asarray(value)

    def wait(self, result: Any) -> Any:
        """``result``, once it is computed."""
        return self["jax"].block_until_ready(result)

    def compiled(self, function: Any) -> Any:
        """What the user calls."""
        return self["jax"].jit(function)


class Autograd(Functional):
    """autograd, the eager tape over NumPy."""

    modules = ("autograd", "autograd.numpy", "autograd.scipy.special", "autograd.scipy.signal")
    counts_memory = True

    def start(self) -> None:
        """Set ``np``, and up the system."""
        autograd, anp = self["autograd"], self["autograd.numpy"]
        special, signal = self["autograd.scipy.special"], self["autograd.scipy.signal"]

        def conv(x: Any, w: Any) -> Any:
            # A convolution in the sense of signal processing turns its kernel round.
            flipped = w[:, :, ::-1, ::-1]
            axes = ([2, 3], [2, 3])
            return signal.convolve(x, flipped, axes=axes, dot_axes=([1], [1]), mode="valid")

        def window(x: Any) -> Any:
            n, c, h, w = x.shape
            return anp.max(x.reshape(n, c, h // 2, 2, w // 2, 2), axis=(3, 5))

        self.np = Dialect(
            anp,
            grad=autograd.grad,
            value_and_grad=autograd.value_and_grad,
            hessian=autograd.hessian,
            push=lambda gradient, x, v: autograd.make_jvp(gradient)(x)(v)[1],
            repeat_step=repeat_step,
            softplus=lambda x: anp.logaddexp(0.0, x),
            sigmoid=lambda x: 1.0 / (1.0 + anp.exp(-x)),
            relu=lambda x: anp.maximum(x, 0),
            logsumexp=lambda x, axis: special.logsumexp(x, axis=axis),
            conv=conv,
            max_pool=window,
            cholesky=anp.linalg.cholesky,
            solve=anp.linalg.solve,
            solve_lower=anp.linalg.solve,
            slogdet=anp.linalg.slogdet,
            # The only axes for which it has a derivative.
            diagonal=lambda a: anp.diagonal(a, axis1=-1, axis2=-2),
        )

    def hvp(self, workload: Workload, inputs: Any) -> Any:
        """The product of the Hessian with a vector, the second input."""
        # Its forward mode lacks a rule that this needs; backwards twice is its documented way.
        program = self._program(workload)
        make = self["autograd"].make_hvp

        def product(x: Any, v: Any, *data: Any) -> Any:
            return make(lambda x: program(x, *data))(x)[0](v)

        return product


class Torch(System):
    """PyTorch, eager."""

    modules = ("torch", "torch.nn.functional")

    def start(self) -> None:
        """Set ``np``, and up the system."""
        torch, functional = self["torch"], self["torch.nn.functional"]
        torch.set_num_threads(self.threads)
        self.np = Dialect(
            torch,
            repeat_step=repeat_step,
            softplus=functional.softplus,
            sigmoid=torch.sigmoid,
            relu=functional.relu,
            logsumexp=lambda x, axis: torch.logsumexp(x, axis),
            swapaxes=torch.swapaxes,
            eye=lambda n: torch.eye(n, dtype=torch.float64),
            conv=functional.conv2d,
            max_pool=lambda x: functional.max_pool2d(x, 2),
            cholesky=torch.linalg.cholesky,
            solve=torch.linalg.solve,
            solve_lower=lambda a, b: torch.linalg.solve_triangular(a, b[:, None], upper=False),
            slogdet=torch.linalg.slogdet,
            diagonal=torch.diagonal,
        )

    def array(self, value: Any) -> Any:
        """A float or NumPy array as this system holds it."""
        return self["torch"].tensor(value, dtype=None if hasattr(value, "dtype") else self.double)

    @property
    def double(self) -> Any:
        """The dtype of Python's floats."""
        return self["torch"].float64

    def numpy(self, value: Any) -> Any:
        """A result as a NumPy array."""
        return value.detach().numpy()

    def compiled(self, function: Any) -> Any:
        """What the user calls."""
        return function

    def _program(self, workload: Workload) -> Any:
        return self.compiled(lambda *inputs: workload.program(self.np, *inputs))

    def value_and_grad(self, workload: Workload, inputs: Any) -> Any:
        """The loss and its derivatives with respect to ``wrt``."""
        torch, program = self["torch"], self._program(workload)
        leaves = flat([inputs[i] for i in workload.wrt])
        for leaf in leaves:
            leaf.requires_grad_(True)

        def run(*inputs: Any) -> Any:
            value = program(*inputs)
            return value, torch.autograd.grad(value, leaves)

        return run

    batches = value_and_grad

    def step(self, workload: Workload, inputs: Any) -> Any:
        """One step of gradient descent: the loss and the next parameters."""
        gradient, torch = self.value_and_grad(workload, inputs), self["torch"]

        def step(params: Any, *data: Any) -> Any:
            value, grads = gradient(params, *data)
            with torch.no_grad():
                return value, [p - LEARNING_RATE * g for p, g in zip(params, grads, strict=True)]

        return step

    def hvp(self, workload: Workload, inputs: Any) -> Any:
        """The product of the Hessian with a vector, the second input."""
        func = self["torch"].func

        def product(x: Any, v: Any, *data: Any) -> Any:
            gradient = func.grad(lambda x: workload.program(self.np, x, *data))
            return func.jvp(gradient, (x,), (v,))[1]

        return self.compiled(product)

    def hessian(self, workload: Workload, inputs: Any) -> Any:
        """All second derivatives."""
        program = lambda *inputs: workload.program(self.np, *inputs)
        return self.compiled(self["torch"].func.hessian(program))

    def derivative(self, workload: Workload, inputs: Any) -> Any:
        """The derivative of some order of an elementwise function."""
        grad, torch = self["torch"].func.grad, self["torch"]

        def slope(function: Any) -> Any:
            return grad(lambda x: torch.sum(function(x)))

        function = lambda x: workload.program(self.np, x)
        for _ in range(workload.order):
            function = slope(function)
        return self.compiled(function)

    def closure(self, workload: Workload, inputs: Any) -> Any:
        """The derivative of a function that is made anew at every call."""
        torch = self["torch"]
        inputs[0].requires_grad_(True)

        def fresh(w: Any, x: Any) -> Any:
            loss = self.compiled(lambda w: workload.program(self.np, w, x))
            return torch.autograd.grad(loss(w), w)

        return fresh


class TorchCompile(Torch):
    """PyTorch with ``torch.compile``."""

    def compiled(self, function: Any) -> Any:
        """What the user calls."""
        return self["torch"].compile(function)


class MyGrad(System):
    """MyGrad, the eager tape over NumPy."""

    modules = ("mygrad", "mygrad.nnet")
    counts_memory = True

    def start(self) -> None:
        """Set ``np``, and up the system."""
        mg, nnet = self["mygrad"], self["mygrad.nnet"]

        def logsumexp(x: Any, axis: int) -> Any:
            top = numpy.max(x.data, axis=axis, keepdims=True)
            return mg.log(mg.sum(mg.exp(x - top), axis=axis)) + numpy.squeeze(top, axis)

        self.np = Dialect(
            mg,
            repeat_step=repeat_step,
            softplus=lambda x: mg.logaddexp(0.0, x),
            sigmoid=nnet.sigmoid,
            relu=nnet.relu,
            logsumexp=logsumexp,
            conv=lambda x, w: nnet.conv_nd(x, w, stride=1),
            max_pool=lambda x: nnet.max_pool(x, (2, 2), (2, 2)),
        )

    def numpy(self, value: Any) -> Any:
        """A result as a NumPy array."""
        return numpy.asarray(getattr(value, "data", value))

    def value_and_grad(self, workload: Workload, inputs: Any) -> Any:
        """The loss and its derivatives with respect to ``wrt``."""
        mg = self["mygrad"]

        def run(*inputs: Any) -> Any:
            chosen = [
                mapped(mg.tensor, x) if i in workload.wrt else x for i, x in enumerate(inputs)
            ]
            value = workload.program(self.np, *chosen)
            value.backward()
            return value.data, [leaf.grad for i in workload.wrt for leaf in flat(chosen[i])]

        return run

    batches = value_and_grad

    def step(self, workload: Workload, inputs: Any) -> Any:
        """One step of gradient descent: the loss and the next parameters."""
        gradient = self.value_and_grad(workload, inputs)

        def step(params: Any, *data: Any) -> Any:
            value, grads = gradient(params, *data)
            return value, [p - LEARNING_RATE * g for p, g in zip(params, grads, strict=True)]

        return step

    def derivative(self, workload: Workload, inputs: Any) -> Any:
        """The derivative of order 1: there are no others."""
        if workload.order > 1:
            raise NotImplementedError("no derivatives of derivatives")
        gradient = self.value_and_grad(_summed(workload), inputs)
        return lambda x: gradient(x)[1]

    def closure(self, workload: Workload, inputs: Any) -> Any:
        """The derivative of a function that is made anew at every call."""
        gradient = self.value_and_grad(workload, inputs)
        return lambda w, x: gradient(w, x)[1]


def _summed(workload: Workload) -> Any:
    import attrs

    return attrs.evolve(workload, program=lambda np, x: np.sum(workload.program(np, x)))


class PyTensor(System):
    """PyTensor, with the linker that it chooses by itself."""

    modules = (
        "pytensor", "pytensor.tensor", "pytensor.tensor.special", "pytensor.tensor.linalg",
    )  # fmt: skip
    mode: str | None = None

    def start(self) -> None:
        """Set ``np``, and up the system."""
        pytensor, pt = self["pytensor"], self["pytensor.tensor"]
        linalg = self["pytensor.tensor.linalg"]

        def scanned(steps: int, step: Any, state: Any) -> Any:
            results = pytensor.scan(step, outputs_info=[state], n_steps=steps, return_updates=False)
            return results[-1]

        self.np = Dialect(
            pt,
            length=lambda x, axis: x.type.shape[axis],
            repeat_step=scanned,
            softplus=pt.softplus,
            sigmoid=pt.sigmoid,
            relu=lambda x: pt.maximum(x, 0),
            logsumexp=lambda x, axis: pt.logsumexp(x, axis=axis),
            cholesky=linalg.cholesky,
            solve=lambda a, b: linalg.solve(a, b, b_ndim=1),
            solve_lower=lambda a, b: linalg.solve_triangular(a, b, lower=True, b_ndim=1),
            slogdet=linalg.slogdet,
            diagonal=pt.diagonal,
        )

    def _symbols(self, inputs: Any) -> Any:
        pt = self["pytensor.tensor"]

        def symbol(value: Any) -> Any:
            array = numpy.asarray(value)
            # Shapes are known here as they are in the other compilers.
            return pt.tensor(dtype=array.dtype.name, shape=array.shape)

        return mapped(symbol, tuple(inputs))

    def _function(self, inputs: Any, outputs: Any) -> Any:
        pytensor = self["pytensor"]
        compiled = pytensor.function(
            flat(inputs), flat(outputs), mode=self.mode, on_unused_input="ignore"
        )
        return lambda *values: compiled(*flat(values))

    def value_and_grad(self, workload: Workload, inputs: Any) -> Any:
        """The loss and its derivatives with respect to ``wrt``."""
        return self._lazily(self._value_and_grad, workload, inputs)

    def _lazily(self, make: Any, workload: Workload, inputs: Any) -> Any:
        """Compile at the first call, so that it counts as part of it."""
        made: list[Any] = []

        def run(*values: Any) -> Any:
            if not made:
                made.append(make(workload, inputs))
            return made[0](*values)

        return run

    def _value_and_grad(self, workload: Workload, inputs: Any) -> Any:
        pt, symbols = self["pytensor.tensor"], self._symbols(inputs)
        value = workload.program(self.np, *symbols)
        grads = pt.grad(value, flat([symbols[i] for i in workload.wrt]))
        return self._function(symbols, [value, grads])

    def step(self, workload: Workload, inputs: Any) -> Any:
        """One step of gradient descent: the loss and the next parameters."""

        def make(workload: Workload, inputs: Any) -> Any:
            pt, symbols = self["pytensor.tensor"], self._symbols(inputs)
            value = workload.program(self.np, *symbols)
            params = flat(symbols[0])
            grads = pt.grad(value, params)
            rate = numpy.float32(LEARNING_RATE)
            new = [p - rate * g for p, g in zip(params, grads, strict=True)]
            return self._function(symbols, [value, new])

        return self._lazily(make, workload, inputs)

    def hvp(self, workload: Workload, inputs: Any) -> Any:
        """The product of the Hessian with a vector, the second input."""

        def make(workload: Workload, inputs: Any) -> Any:
            pt, symbols = self["pytensor.tensor"], self._symbols(inputs)
            x, v, *data = symbols
            gradient = pt.grad(workload.program(self.np, x, *data), x)
            return self._function(symbols, [pt.grad(pt.sum(gradient * v), x)])

        return self._lazily(make, workload, inputs)

    def hessian(self, workload: Workload, inputs: Any) -> Any:
        """All second derivatives."""

        def make(workload: Workload, inputs: Any) -> Any:
            symbols = self._symbols(inputs)
            value = workload.program(self.np, *symbols)
            return self._function(symbols, [self["pytensor"].gradient.hessian(value, symbols[0])])

        return self._lazily(make, workload, inputs)

    def derivative(self, workload: Workload, inputs: Any) -> Any:
        """The derivative of some order of an elementwise function."""

        def make(workload: Workload, inputs: Any) -> Any:
            pt, (x,) = self["pytensor.tensor"], self._symbols(inputs)
            value = workload.program(self.np, x)
            for _ in range(workload.order):
                value = pt.grad(pt.sum(value), x)
            return self._function([x], [value])

        return self._lazily(make, workload, inputs)

    def closure(self, workload: Workload, inputs: Any) -> Any:
        """The derivative of a function that is made anew at every call."""

        def fresh(w: Any, x: Any) -> Any:
            pt, (symbol,) = self["pytensor.tensor"], self._symbols([w])
            loss = workload.program(self.np, symbol, pt.constant(x))
            return self._function([symbol], [pt.grad(loss, symbol)])(w)

        return fresh

    def batches(self, workload: Workload, inputs: Any) -> Any:
        """``value_and_grad`` of a batch of any size: one program, of unknown length."""

        def make(workload: Workload, inputs: Any) -> Any:
            pt, (params, x, labels) = self["pytensor.tensor"], self._symbols(inputs)
            x = pt.tensor(dtype=x.dtype, shape=(None, *x.type.shape[1:]))
            labels = pt.tensor(dtype=labels.dtype, shape=(None, *labels.type.shape[1:]))
            value = workload.program(self.np, params, x, labels)
            return self._function([params, x, labels], [value, pt.grad(value, flat(params))])

        return self._lazily(make, workload, inputs)


class PyTensorC(PyTensor):
    """PyTensor with its C compiler."""

    mode = "CVM"


SYSTEMS: dict[str, type[System]] = {
    "manual": Manual,
    "fungrad-jit": FungradJit,
    "fungrad": Fungrad,
    "jax": Jax,
    "torch": Torch,
    "torch-compile": TorchCompile,
    "autograd": Autograd,
    "mygrad": MyGrad,
    "pytensor": PyTensor,
    "pytensor-c": PyTensorC,
}
PEERS = ("jax", "torch", "torch-compile", "autograd", "mygrad", "pytensor", "pytensor-c")
