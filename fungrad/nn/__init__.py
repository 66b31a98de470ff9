"""Functions that neural networks are made of, with stable values and derivatives (``fg.nn``).

All are pure functions of arrays, plain or traced; parameters are arguments, randomness is a key.
float32 stays float32; integers become float64.
"""

from fungrad.nn.activations import (
    elu,
    gelu,
    leaky_relu,
    log_sigmoid,
    relu,
    sigmoid,
    silu,
    softplus,
)
from fungrad.nn.convolution import avg_pool, conv, max_pool
from fungrad.nn.layers import dropout, layer_norm, one_hot
from fungrad.nn.losses import (
    sigmoid_binary_cross_entropy,
    softmax_cross_entropy,
    sparse_softmax_cross_entropy,
)
from fungrad.nn.softmax import log_softmax, logsumexp, softmax

__all__ = [
    "avg_pool",
    "conv",
    "dropout",
    "elu",
    "gelu",
    "layer_norm",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "max_pool",
    "one_hot",
    "relu",
    "sigmoid",
    "sigmoid_binary_cross_entropy",
    "silu",
    "softmax",
    "softmax_cross_entropy",
    "softplus",
    "sparse_softmax_cross_entropy",
]
