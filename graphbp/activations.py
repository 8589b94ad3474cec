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

import math
import numbers
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import RegistryError, shown, unknown_name
from graphbp.tails import (
    COSINE,
    EXP,
    EXPM1,
    GAUSSIAN,
    SIGMOID,
    SINE,
    SOFTPLUS,
    SOFTSIGN,
    SQUARE,
    TANH,
    Derivatives,
    Tails,
    elu_tails,
    softplus,
)

__all__ = [
    "SOFTMAX",
    "Activation",
    "Function",
    "activation_table",
    "get_activation",
    "plain_values",
    "register_activation",
    "sampled_range",
]

Array = npt.NDArray[Any]
Function = Callable[[Array], Array]


@dataclass(frozen=True)
class Activation:
    """One row of the table: z = f(a), f'(a) = dz/da and f''(a) = d²z/da².

    Attributes
    ----------
    name : the value of a node's `activation` attribute.
    f, df, d2f : NumPy functions of the pre-activation `a`, elementwise (softmax: over axis 0).
    formula : z as a function of a, for people.
    analytic : complex `a` gives the analytic continuation, so the complex step applies.
    kinks : the values of `a` where f or f' jumps, so that differencing across them means nothing.
    lower, upper : f is defined for lower < a < upper.
    elementwise : false only for softmax.
    builtin : true for the rows of this file; a backend may have its own kernel for those, and only for those.
    range : the least interval that holds every z; None where a registered row does not say (`sampled_range` looks).
    tails : what an error needs at outputs that are saturated; without it, they go through y as it was rounded.
    """

    name: str
    f: Function
    df: Function
    d2f: Function
    formula: str = ""
    analytic: bool = True
    kinks: tuple[float, ...] = ()
    lower: float = -math.inf
    upper: float = math.inf
    elementwise: bool = True
    builtin: bool = False
    range: tuple[float, float] | None = None
    tails: Tails | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name: functions of a table stay in the table."""
        return get_activation, (self.name,)

    def evaluate(self, a: Array, order: int = 0) -> Array:
        """f(a), f'(a) or f''(a); raises `RegistryError` where a registered function gives something else than real numbers of a's shape."""
        value = (self.f, self.df, self.d2f)[order](a)
        return value if self.builtin else plain_values(value, a, f"activation {self.name!r}: {_LABELS[order]}")


_LABELS = ("f", "df", "d2f")


def plain_values(value: Any, a: Array, what: str) -> Array:
    """`value` as an array of real numbers (complex ones for complex `a`) of a's shape."""
    try:
        array = np.asarray(value)
    except Exception as problem:
        raise RegistryError(f"{what} returns {type(value).__name__}, which is no array: {problem}") from problem
    if array.shape != a.shape:
        raise RegistryError(f"{what} must return an array of the shape it is given; for {a.shape} it gave {array.shape}")
    if array.dtype.kind not in ("fiubc" if a.dtype.kind == "c" else "fiub"):
        raise RegistryError(f"{what} must return real numbers for real numbers; for {a.dtype} it gave {array.dtype}")
    return array


def _fold(a: Array) -> tuple[Array, Array]:
    """(s, right) with s = a where Re a ≥ 0, else −a: the analytic stand-in for |a|."""
    right = np.real(a) >= 0
    return np.where(right, a, -a), right


def _sigmoid(a: Array) -> Array:
    s, right = _fold(a)
    e = np.exp(-s)
    return np.asarray(np.where(right, 1, e) / (1 + e))


def _dsigmoid(a: Array) -> Array:
    e = np.exp(-_fold(a)[0])
    return np.asarray(e / (1 + e) ** 2)


def _d2sigmoid(a: Array) -> Array:
    s, right = _fold(a)
    e = np.exp(-s)
    d2 = e * np.expm1(-s) / (1 + e) ** 3
    return np.asarray(np.where(right, d2, -d2))


def _dtanh(a: Array) -> Array:
    e = np.exp(-2 * _fold(a)[0])
    return np.asarray(4 * e / (1 + e) ** 2)


def _exp_of_square(scale: float, a: Array) -> Array:
    """exp(−scale a²), 0 < scale ≤ 1: a = high + low, so that the rounding of a², which the exponential would magnify, is kept."""
    wide = np.result_type(a, np.float64)
    near = np.where(np.abs(np.real(a)) < 64, a, 64).astype(wide)  # exp(−64²/2) is 0
    high = np.round(np.real(near) * 2.0**20) / 2.0**20
    low = near - high
    value = np.exp(-scale * high * high) * np.exp(-scale * low * (near + high))
    return np.where(np.isnan(a), a, value).astype(np.result_type(a), copy=False)


def _gauss(a: Array) -> Array:
    return _exp_of_square(1.0, a)


def _darctan(a: Array) -> Array:
    """1 / (1 + a²), where a² would overflow too."""
    far = np.abs(np.real(a)) > 1
    t = np.where(far, 1 / np.where(far, a, 1), a)
    w = 1 / (1 + t * t)
    return np.where(far, t * t * w, w)


def _cube(a: Array) -> Array:
    return a * a * a


_SQRT_HALF = math.sqrt(0.5)
_INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)


def _normal_cdf(a: Array) -> Array:
    """Φ(a): for a < 0 by exp(−a²/2) and erfcx, of which neither magnifies a rounding."""
    from scipy.special import erfc, erfcx  # imported on use: SciPy costs more than all of graphbp

    wide = np.asarray(a, np.result_type(a, np.float64))
    left = np.real(wide) < 0
    tail = 0.5 * _exp_of_square(0.5, wide) * erfcx(-np.where(left, wide, 0) * _SQRT_HALF)
    return np.asarray(np.where(left, tail, 0.5 * erfc(-np.where(left, 0, wide) * _SQRT_HALF))).astype(np.result_type(a), copy=False)


def _normal_pdf(a: Array) -> Array:
    return np.asarray(_INV_SQRT_2PI * _exp_of_square(0.5, a))


def _select(a: Array, negative: Callable[[Array], Any], positive: Callable[[Array], Any]) -> Array:
    """positive(a) where a > 0, negative(a) elsewhere; a NaN stays a NaN."""
    chosen = np.where(a > 0, positive(a), negative(a)).astype(np.result_type(a), copy=False)
    return np.asarray(chosen + 0 * _finite(a))


def _finite(a: Array) -> Array:
    """a with ±inf replaced by 0, so that 0 * _finite(a) is 0, or NaN where a is NaN."""
    return np.where(np.isinf(a), 0, a)


def _expm1_neg(a: Array) -> Array:
    return np.asarray(np.expm1(np.minimum(a, 0)))


def _exp_neg(a: Array) -> Array:
    return np.asarray(np.exp(np.minimum(a, 0)))


_LEAK = 0.01
_SELU_SCALE = 1.0507009873554804934193349852946
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SA = _SELU_SCALE * _SELU_ALPHA


def _zero(a: Array) -> Array:
    return 0 * _finite(a)


def _softmax(a: Array) -> Array:
    # the top itself, so that its e is 1 and the imaginary part of a complex step is that of the others' sum
    top = np.take_along_axis(a, np.argmax(np.real(a), axis=0)[None], 0)
    e = np.exp(a - top)
    return np.asarray(e / e.sum(axis=0, keepdims=True))


def _not_elementwise(a: Array) -> Array:
    raise TypeError("softmax couples its units: its derivative is the matrix diag(y) - y yᵀ, not a function of one unit's a")


def _silu_d(a: Array) -> Array:
    return np.asarray(_sigmoid(a) + _times(a, _dsigmoid(a)))


def _silu_d2(a: Array) -> Array:
    return np.asarray(2 * _dsigmoid(a) + _times(a, _d2sigmoid(a)))


def _times(a: Array, factor: Array) -> Array:
    """a * factor where factor decays faster than a grows: 0 · ∞ is 0."""
    return np.where(factor == 0, 0, np.where(factor == 0, 0, a) * factor)


def _row(name: str, formula: str, f: Function, df: Function, d2f: Function, **more: Any) -> Activation:
    return Activation(name, f, df, d2f, formula, builtin=True, **{"range": (-math.inf, math.inf), **more})


SOFTMAX = _row("softmax", "exp(a_k) / Σ_c exp(a_c)", _softmax, _not_elementwise, _not_elementwise, elementwise=False, range=(0, 1))

_ROWS = [
    _row("identity", "a", lambda a: a + 0, lambda a: 1 + _zero(a), _zero),
    _row("tanh", "tanh(a)", np.tanh, _dtanh, lambda a: -2 * np.tanh(a) * _dtanh(a), range=(-1, 1), tails=TANH),
    _row("sigmoid", "1 / (1 + exp(-a))", _sigmoid, _dsigmoid, _d2sigmoid, range=(0, 1), tails=SIGMOID),
    _row(
        "relu",
        "max(a, 0)",
        lambda a: _select(a, lambda v: 0, lambda v: v),
        lambda a: _select(a, lambda v: 0, lambda v: 1),
        _zero,
        analytic=False,
        kinks=(0.0,),
        range=(0, math.inf),
    ),
    _row(
        "leaky_relu",
        "a if a > 0 else 0.01 a",
        lambda a: np.where(a > 0, a, a.dtype.type(_LEAK) * a),
        lambda a: _select(a, lambda v: _LEAK, lambda v: 1),
        _zero,
        analytic=False,
        kinks=(0.0,),
    ),
    _row(
        "elu",
        "a if a > 0 else exp(a) - 1",
        lambda a: np.where(a > 0, a, _expm1_neg(a)),
        lambda a: np.where(a > 0, 1, _exp_neg(a)) + _zero(a),
        lambda a: np.where(a > 0, 0, _exp_neg(a)) + _zero(a),
        analytic=False,
        kinks=(0.0,),
        range=(-1, math.inf),
        tails=elu_tails(1.0, 1.0),
    ),
    _row(
        "selu",
        "1.0507 (a if a > 0 else 1.6733 (exp(a) - 1))",
        lambda a: np.where(a > 0, _SELU_SCALE * a, _SELU_SA * _expm1_neg(a)),
        lambda a: np.where(a > 0, _SELU_SCALE, _SELU_SA * _exp_neg(a)) + _zero(a),
        lambda a: np.where(a > 0, 0, _SELU_SA * _exp_neg(a)) + _zero(a),
        analytic=False,
        kinks=(0.0,),
        range=(-_SELU_SA, math.inf),
        tails=elu_tails(_SELU_SCALE, _SELU_SA),
    ),
    _row(
        "gelu",
        "a Φ(a), Φ the standard normal distribution function",
        lambda a: _times(a, _normal_cdf(a)),
        lambda a: _normal_cdf(a) + _times(a, _normal_pdf(a)),
        lambda a: _times(2 - a * a, _normal_pdf(a)),
        range=(-0.17, math.inf),
    ),
    _row("silu", "a / (1 + exp(-a))", lambda a: _times(a, _sigmoid(a)), _silu_d, _silu_d2, range=(-0.2785, math.inf)),
    _row("softplus", "log(1 + exp(a))", softplus, _sigmoid, _dsigmoid, range=(0, math.inf), tails=SOFTPLUS),
    _row(
        "softsign",
        "a / (1 + |a|)",
        lambda a: np.where(np.isinf(a), np.sign(a), _finite(a) / (1 + np.abs(_finite(a)))),
        lambda a: (1 / (1 + np.abs(a))) ** 2,
        lambda a: -2 * np.sign(a) * (1 / (1 + np.abs(a))) ** 3,
        analytic=False,
        kinks=(0.0,),
        range=(-1, 1),
        tails=SOFTSIGN,
    ),
    _row("exp", "exp(a)", np.exp, np.exp, np.exp, range=(0, math.inf), tails=EXP),
    _row("expm1", "exp(a) - 1", np.expm1, np.exp, np.exp, range=(-1, math.inf), tails=EXPM1),
    _row("log", "log(a), a > 0", np.log, lambda a: 1 / a, lambda a: -((1 / a) ** 2), lower=0.0),
    _row("sin", "sin(a)", np.sin, np.cos, lambda a: -np.sin(a), range=(-1, 1), tails=SINE),
    _row("cos", "cos(a)", np.cos, lambda a: -np.sin(a), lambda a: -np.cos(a), range=(-1, 1), tails=COSINE),
    _row(
        "arctan",
        "arctan(a)",
        np.arctan,
        _darctan,
        lambda a: -2 * _times(a, _darctan(a)) * _darctan(a),
        range=(-math.pi / 2, math.pi / 2),
    ),
    _row(
        "gaussian",
        "exp(-a²)",
        _gauss,
        lambda a: _times(-2 * a, _gauss(a)),
        lambda a: _times(4 * a * a - 2, _gauss(a)),
        range=(0, 1),
        tails=GAUSSIAN,
    ),
    _row("reciprocal", "1 / a", lambda a: 1 / a, lambda a: -((1 / a) ** 2), lambda a: 2 * _cube(1 / a), kinks=(0.0,)),
    _row("square", "a²", lambda a: a * a, lambda a: 2 * a, lambda a: 2 + _zero(a), range=(0, math.inf), tails=SQUARE),
    _row(
        "sqrt",
        "√a, a > 0",
        np.sqrt,
        lambda a: 0.5 / np.sqrt(a),
        lambda a: -0.25 * (1 / np.sqrt(a)) ** 3,
        lower=0.0,
        range=(0, math.inf),
    ),
    _row(
        "rsqrt",
        "1 / √a, a > 0",
        lambda a: 1 / np.sqrt(a),
        lambda a: -0.5 * _cube(1 / np.sqrt(a)),
        lambda a: 0.75 * _cube(1 / np.sqrt(a)) / a,
        lower=0.0,
        range=(0, math.inf),
    ),
    _row("abs", "|a|", np.abs, np.sign, _zero, analytic=False, kinks=(0.0,), range=(0, math.inf)),
    _row(
        "step",
        "1 if a > 0 else 0",
        lambda a: _select(a, lambda v: 0, lambda v: 1),
        _zero,
        _zero,
        analytic=False,
        kinks=(0.0,),
        range=(0, 1),
    ),
    SOFTMAX,
]

_TABLE: dict[str, Activation] = {row.name: row for row in _ROWS}


class _Table:
    """The live table, in order; iterating yields rows.  Plugins' rows are loaded the first time a name is not found here."""

    def __iter__(self) -> Iterator[Activation]:
        return iter(list(_TABLE.values()))

    def names(self) -> list[str]:
        return list(_TABLE)


activation_table = _Table()


def get_activation(name: str) -> Activation:
    """The row called `name`; plugins are asked when the table does not have it.  Raises `UnknownNameError`, near matches offered."""
    if isinstance(name, str):
        if name in _TABLE:
            return _TABLE[name]
        from graphbp.plugins import load_plugins

        load_plugins("activations")
        if name in _TABLE:
            return _TABLE[name]
    from graphbp.plugins import unregistered

    hint = "Add your own with gb.register_activation(name, f, df, d2f)."
    raise unknown_name("activation", name, _TABLE, unregistered("activations", hint))


def register_activation(
    name: str,
    f: Function,
    df: Function,
    d2f: Function,
    *,
    formula: str = "",
    analytic: bool = False,
    kinks: tuple[float, ...] = (),
    lower: float = -math.inf,
    upper: float = math.inf,
    range: tuple[float, float] | None = None,
    tails: Tails | None = None,
) -> Activation:
    """Add z = f(a), with f' and f'', to the table; every backend can then run it.

    Parameters
    ----------
    name : the value users give a node's `activation` attribute; registering the same functions again is allowed, replacing a
        built-in or somebody else's row is not.
    f, df, d2f : NumPy functions of an array of pre-activations, elementwise, written with ufuncs and `np.where` (the Numba
        backend compiles these same functions).  `df` and `d2f` are compared with differences of `f` and `df` here, so a wrong
        sign is refused at once.
    analytic : set it where f accepts complex input and continues analytically: `complex_step` then applies.
    kinks, lower, upper : where f is not smooth, and the open interval on which it is defined.
    range : the least and the greatest value that f can take, ±inf where there is none: an output is refused under an error that cannot
        judge them (an output under "binary_cross_entropy" must lie from 0 to 1).  Not given, f is sampled for it.
    tails : y − t, ln y and ln(1 − y) in forms that do not cancel where f is next to 0, 1 or another limit (`gb.extend.Tails`): then the
        errors at outputs of this activation are right however saturated.

    Raises
    ------
    RegistryError : a name that is taken, a function that is not callable or not elementwise, values that are not real numbers, a
        derivative that is not one, a range that f leaves.
    """
    if not isinstance(name, str) or not name:
        raise RegistryError(f"an activation's name is a non-empty string, not {shown(name)}")
    name = str(name)
    for label, function in (("f", f), ("df", df), ("d2f", d2f)):
        if not callable(function):
            raise RegistryError(f"activation {name!r}: {label} must be a function of an array, not {type(function).__name__}")
    if not isinstance(formula, str):
        raise RegistryError(f"activation {name!r}: formula={shown(formula)}; it must be text for people")
    lower, upper = (_bound(name, label, value) for label, value in (("lower", lower), ("upper", upper)))
    if not lower < upper:
        raise RegistryError(f"activation {name!r}: lower={lower} and upper={upper} leave no interval to be defined on")
    kinks = tuple(_bound(name, "kinks", kink) for kink in _listed(name, "kinks", kinks))
    if range is not None:
        range = tuple(_bound(name, "range", end) for end in _listed(name, "range", range))  # type: ignore[assignment]  # two of them, or refused
        if len(range) != 2 or not range[0] <= range[1]:
            raise RegistryError(f"activation {name!r}: range={range}; give the least and the greatest value of f")
    if not isinstance(analytic, (bool, np.bool_)):
        raise RegistryError(f"activation {name!r}: analytic={shown(analytic)}; it must be True or False")
    row = Activation(name, f, df, d2f, formula or name, bool(analytic), kinks, lower, upper, range=range, tails=tails)
    if tails is not None and not isinstance(tails, Tails):
        raise RegistryError(f"activation {name!r}: tails={shown(tails)}; it must be a graphbp.extend.Tails")
    old = _TABLE.get(name)
    if old is not None and (old.builtin or (old.f, old.df, old.d2f) != (f, df, d2f)):
        owner = "built in" if old.builtin else "registered already"
        raise RegistryError(f"activation {name!r} is {owner}; choose another name")
    _check_values(row)
    _check_derivatives(row)
    if tails is not None:
        _check_tails(row, tails)
    _TABLE[name] = row
    return row


def _bound(name: str, label: str, value: Any) -> float:
    try:
        if type(value) is not bool and isinstance(value, numbers.Real) and not math.isnan(value):
            return float(value)
    except OverflowError:  # an int beyond float64
        pass
    raise RegistryError(f"activation {name!r}: {label}={shown(value)}; it must be a number (or ±inf)")


def _listed(name: str, label: str, values: Any) -> list[Any]:
    try:
        return list(values) if not isinstance(values, (str, bytes)) else [values]  # which is no number
    except TypeError as problem:
        raise RegistryError(f"activation {name!r}: {label}={shown(values)}; give a tuple of numbers") from problem


def _samples(row: Activation) -> Array:
    """Pre-activations near and far, inside the open interval on which f is defined."""
    far = np.logspace(-8, 6, 57)
    grid = np.concatenate([-far[::-1], [0.0], far, np.linspace(-50, 50, 2001)])
    if math.isfinite(row.lower):
        grid = np.concatenate([grid, row.lower + far])
    if math.isfinite(row.upper):
        grid = np.concatenate([grid, row.upper - far])
    return np.unique(grid[(grid > row.lower) & (grid < row.upper)])


@lru_cache(maxsize=256)
def sampled_range(row: Activation) -> tuple[float, float]:
    """The least and the greatest finite value that f takes among sampled pre-activations: inside its range, and near its ends."""
    with np.errstate(all="ignore"):
        z = row.evaluate(_samples(row))
    z = z[np.isfinite(z)]
    return (float(z.min()), float(z.max())) if len(z) else (-math.inf, math.inf)


def _check_values(row: Activation) -> None:
    """Refuse functions that give something else than real numbers of the shape they are given, and an f that leaves its range."""
    grid = _samples(row)
    inside = grid[len(grid) // 2 :][:6]
    with np.errstate(all="ignore"):
        for a in (grid, grid.astype(np.float32), grid[:0], inside.reshape(2, 3), inside[:1]):
            for order in (0, 1, 2):
                try:
                    row.evaluate(a, order)
                except RegistryError:
                    raise
                except Exception as problem:
                    raise RegistryError(
                        f"activation {row.name!r}: {_LABELS[order]} failed on an array of {a.dtype}, shape {a.shape}: {problem}"
                    ) from problem
    if row.range is not None:
        low, high = sampled_range(row)
        slack = 1e-9 * max(1.0, abs(low), abs(high))
        if low < row.range[0] - slack or high > row.range[1] + slack:
            raise RegistryError(f"activation {row.name!r}: f takes values from {low:.4g} to {high:.4g}, outside range={row.range}")


def _check_derivatives(row: Activation) -> None:
    """Refuse df or d2f that central differences of f and df contradict, at points away from kinks and inside the domain."""
    lower, upper = max(row.lower, -3.0), min(row.upper, 3.0)
    if not lower < upper:
        lower, upper = (row.lower, row.lower + 4.0) if math.isfinite(row.lower) else (row.upper - 4.0, row.upper)
    a = np.linspace(lower, upper, 43)[1:-1]
    for kink in row.kinks:
        a = a[np.abs(a - kink) > 0.01]
    h = 1e-6
    for label, low, high in (("df", row.f, row.df), ("d2f", row.df, row.d2f)):
        try:
            exact = np.asarray(high(a))
            difference = (np.asarray(low(a + h)) - np.asarray(low(a - h))) / (2 * h)
        except Exception as problem:
            raise RegistryError(f"activation {row.name!r}: {label} failed on an array of floats: {problem}") from problem
        if exact.shape != a.shape or difference.shape != a.shape:
            raise RegistryError(f"activation {row.name!r}: {label} must return an array of the shape it is given")
        error = np.abs(exact - difference) - 1e-5 * (1 + np.abs(difference))
        worst = int(np.argmax(error))
        if not error[worst] <= 0:
            raise RegistryError(
                f"activation {row.name!r}: {label}({a[worst]:.4g}) is {exact[worst]:.6g}, but differencing gives "
                f"{difference[worst]:.6g}; correct {label}, or name the point in kinks= if the function is not smooth there"
            )


def _check_tails(row: Activation, tails: Tails) -> None:
    """Refuse tails that f, f' and f'' contradict where y is not near 0 or 1, away from kinks."""
    a = _samples(row)
    a = a[np.abs(a) < 5]
    for kink in row.kinks:
        a = a[np.abs(a - kink) > 0.01]
    with np.errstate(all="ignore"):
        y, df, d2f = (row.evaluate(a, order) for order in (0, 1, 2))
        t = np.full_like(a, 0.3)
        found = [("less", tails.less(a, t), y - t), ("df", tails.df(a), df), ("d2f", tails.d2f(a), d2f)]
        found += _logarithm("log", tails.log, a, y, df, d2f)
        found += _logarithm("log1m", tails.log1m, a, 1 - y, -df, -d2f)
    for label, value, exact in found:
        with np.errstate(all="ignore"):
            off = np.abs(value - exact) > 1e-6 * (1 + np.abs(exact))
        if (off & (y > 0.001) & (y < 0.999)).any() if label.startswith("log") else off.any():
            at = int(np.argmax(off))
            raise RegistryError(
                f"activation {row.name!r}: tails.{label} at a = {a[at]:.4g} is {value[at]:.6g}, but f, df and d2f give {exact[at]:.6g}"
            )


def _logarithm(label: str, found: Derivatives | None, a: Array, y: Array, dy: Array, d2y: Array) -> list[tuple[str, Array, Array]]:
    """What `found` gives for ln y and its derivatives, and what y and its derivatives do."""
    exact = (np.log(y), dy / y, d2y / y - (dy / y) ** 2)
    return [(f"{label}[{n}]", each(a), exact[n]) for n, each in enumerate(found)] if found else []
