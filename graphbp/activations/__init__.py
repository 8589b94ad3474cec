"""The table of activations: z = f(a) with f' and f'' beside it.

Each row is one `Activation`.  Every backend and every test iterates this table, so a row that a backend lacks fails by name.

* The three functions take an array of pre-activations `a` and return an array of the same shape and dtype.
* Where `analytic` is true, they also accept complex `a`; that is what the complex-step check runs on.  Branches are therefore
  chosen by the *real part* of `a`, and `|a|` is written as `a` or `-a`.
* Nothing overflows: wherever an exponential appears, its argument is ≤ 0 (except in `exp` and `expm1`, which are meant to grow).
* At a kink (relu at 0) f' is the value from the left and f'' is the almost-everywhere second derivative, 0.

Softmax couples units, so it is the one row that is not elementwise: its functions act on axis 0 (units) of a (units, N) array.

>>> import numpy as np
>>> from graphbp.activations import get_activation
>>> tanh = get_activation("tanh")
>>> float(tanh.f(np.array(0.0))), float(tanh.df(np.array(0.0))), float(tanh.d2f(np.array(0.0)))
(0.0, 1.0, -0.0)
"""

from __future__ import annotations

from graphbp.activations.builtin import SOFTMAX
from graphbp.activations.registration import register_activation, sampled_range
from graphbp.activations.table import Activation, Function, activation_table, get_activation

__all__ = [
    "SOFTMAX",
    "Activation",
    "Function",
    "activation_table",
    "get_activation",
    "register_activation",
    "sampled_range",
]
