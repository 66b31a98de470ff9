"""Random numbers as pure functions of a key (``fg.random``).

A key stands for all the numbers that can be drawn with it: the same key gives the same numbers,
with and without ``jit``, under ``vmap``, in any process. It is an array and can be an argument of
a jitted function, so that new keys give new numbers without tracing again::

    key = fg.random.key(0)
    params_key, noise_key = fg.random.split(key)
    w = fg.random.normal(params_key, (3, 2), scale=0.1)

Draw with a key once: two draws with the same key are not independent of each other. ``split`` and
``fold_in`` make as many keys as a program needs. Draws of ``np.random`` inside a jitted function
would happen while tracing, once; ``jit`` refuses them where it sees them: draw with a key instead.

Draws move with their parameters where that makes sense (the reparameterisation trick), so that an
expectation can be differentiated by the mean over draws; discrete draws have derivative 0.

The generators are NumPy's, so that numbers are equal as long as NumPy's versions draw equal ones.

References:
    Salmon, Moraes, Dror, Shaw, Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011, for the
    counter-based generator Philox; Kingma and Welling, Auto-Encoding Variational Bayes, ICLR 2014,
    section 2.4, for reparameterisation. Keys that are split are JAX's idea, after Claessen and
    Pałka, Splittable Pseudorandom Number Generators, Haskell Symposium 2013.
"""

from fungrad.random.continuous import (
    beta,
    dirichlet,
    exponential,
    gamma,
    gumbel,
    laplace,
    multivariate_normal,
    normal,
    student_t,
    truncated_normal,
    uniform,
)
from fungrad.random.discrete import (
    bernoulli,
    binomial,
    categorical,
    choice,
    integers,
    permutation,
    poisson,
)
from fungrad.random.keys import fold_in, key, split

__all__ = [
    "bernoulli",
    "beta",
    "binomial",
    "categorical",
    "choice",
    "dirichlet",
    "exponential",
    "fold_in",
    "gamma",
    "gumbel",
    "integers",
    "key",
    "laplace",
    "multivariate_normal",
    "normal",
    "permutation",
    "poisson",
    "split",
    "student_t",
    "truncated_normal",
    "uniform",
]
