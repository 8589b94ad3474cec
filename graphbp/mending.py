"""Derivatives of any backend that hold NaN, mended where the NaN is 0 · ∞ at something constant: `graphbp.poles` sweeps those samples.

A result without NaN passes as it is.  Otherwise the samples at a pole are left to `Poles`, the others to the backend once more, and what
comes out replaces the NaN; other numbers keep their bits.  A result on a device is looked at where some unit can stand at a pole: then its
sum is waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.data import finite
from graphbp.poles import Poles
from graphbp.protocols import TraceArrays

__all__ = ["MENDED", "mended"]

Array = npt.NDArray[Any]
_BLOCK = 64


def mended(name: str, own: Callable[..., Any], poles: Poles) -> Callable[..., Any]:
    """The executable's method of this name, mended."""

    @wraps(own)
    def call(*args: Any) -> Any:
        found = own(*args)
        if _without_nan(found, poles):
            return found
        values = [value for value in _listed(found) if hasattr(value, "shape")]
        with np.errstate(all="ignore"):
            if not hasattr(args[0], "get"):
                return MENDED[name](poles, own, found, *args)
            by = MENDED[name](poles, _through_host(own, args[0]), _on_host(found), *(_on_host(value) for value in args))
            for value, new in zip(values, [new for new in _listed(by) if isinstance(new, np.ndarray)], strict=True):
                value[...] = _uploaded(new, args[0])
        return found

    return call


def _listed(found: Any) -> Any:
    if isinstance(found, TraceArrays):
        return (found.delta,)
    return found if isinstance(found, list | tuple) else (found,)


def _without_nan(found: Any, poles: Poles) -> bool:
    if isinstance(found, TraceArrays):
        return _without_nan(found.delta, poles)
    if type(found) is np.ndarray:
        return finite(found) or not np.isnan(found).any()
    if isinstance(found, list | tuple):
        return all(_without_nan(part, poles) for part in found)
    if hasattr(found, "get") and poles.possible:  # on a device: its sum alone is waited for
        return bool(np.isfinite(found.sum().item())) or not np.isnan(found.get()).any()
    return True


def _on_host(value: Any) -> Any:
    if isinstance(value, TraceArrays):
        return TraceArrays(_on_host(value.a), _on_host(value.z), _on_host(value.delta))
    if isinstance(value, list | tuple):
        return type(value)(_on_host(part) for part in value)
    return value.get() if hasattr(value, "get") else value


def _uploaded(value: Any, like: Any) -> Any:
    """An array of the host as one of the library of `like` (NEP 35)."""
    return np.asarray(np.ascontiguousarray(value), like=like) if isinstance(value, np.ndarray) else value


def _through_host(own: Callable[..., Any], like: Any) -> Callable[..., Any]:
    """The executable's method of arrays on a device, for arrays of the host."""
    return lambda *args: _on_host(own(*(_uploaded(value, like) for value in args)))


def _replaced(found: Array, by: Array) -> Array:
    """`found`, its NaN replaced in place."""
    found[...] = np.where(np.isnan(found), np.reshape(by, found.shape), found)
    return found


def _others(n: int, odd: Array) -> Array:
    return np.setdiff1d(np.arange(n), odd)


def _some(values: Array | None, which: Array) -> Array | None:
    return None if values is None else values[which]


def _jvp(poles: Poles, own: Callable[..., Any], found: Array, theta: Array, X: Array, U: Array | None, v: Array | None) -> Array:
    odd = np.flatnonzero(np.isnan(found).any(axis=1))
    odd = odd[poles.samples(theta, X[odd], overflown=True)]
    found[odd] = _replaced(found[odd], poles.jvp(theta, X[odd], _some(U, odd), v))
    return found


def _summed(
    sweep: Callable[..., tuple[Array | None, Array]], by_sample: int, *, of_error: bool, overflown: bool
) -> Callable[..., tuple[Any, Array]]:
    """(a row for each sample, or E; a sum over samples): what `sweep` finds at poles added to that of the others.

    The first `by_sample` arguments after θ have a row for each sample, X and, `of_error`, T and the weights among them.
    """

    def mend(poles: Poles, own: Callable[..., Any], found: tuple[Any, Array], theta: Array, *args: Any) -> tuple[Any, Array]:
        X, T, s = args[:3] if of_error else (args[0], None, None)
        odd = poles.samples(theta, X, T, overflown=overflown, s=s)
        by_x, total = sweep(poles, theta, *_of_samples(args, by_sample, odd))
        rest = _others(len(X), odd)
        if len(rest):
            total = total + own(theta, *_of_samples(args, by_sample, rest))[1]
        if by_x is not None:
            found[0][odd] = _replaced(found[0][odd], by_x)
        return found[0], _replaced(found[1], total)

    return mend


def _of_samples(args: tuple[Any, ...], by_sample: int, which: Array) -> tuple[Any, ...]:
    return (*(_some(values, which) for values in args[:by_sample]), *args[by_sample:])


def _trace(
    poles: Poles, own: Callable[..., Any], found: TraceArrays, theta: Array, X: Array, T: Array, s: Array | None
) -> TraceArrays:
    odd = np.flatnonzero(np.isnan(found.delta).any(axis=0))
    found.delta[:, odd] = _replaced(found.delta[:, odd], poles.deltas(theta, X[odd], T[odd], _some(s, odd)))
    return found


def _per_sample_gradient(
    poles: Poles, own: Callable[..., Any], found: Array, theta: Array, X: Array, T: Array, s: Array | None
) -> Array:
    for n in np.flatnonzero(np.isnan(found).any(axis=1)).tolist():
        one = slice(n, n + 1)
        _replaced(found[n], poles.gradient(theta, X[one], T[one], None if s is None else s[one]))
    return found


def _jacobian(of: int) -> Callable[..., Array]:
    """By inputs (0) or parameters (1), for each sample and output that holds NaN."""

    def mend(poles: Poles, own: Callable[..., Any], found: Array, theta: Array, X: Array) -> Array:
        for n, k in np.argwhere(np.isnan(found).any(axis=2)).tolist():
            v = np.zeros((1, found.shape[1]), found.dtype)
            v[0, k] = 1
            _replaced(found[n, k], poles.vjp(theta, X[n : n + 1], v)[of])
        return found

    return mend


def _products(complete: Callable[..., Any]) -> Callable[..., Any]:
    """What products with a Hessian make: (poles, found, the sum of the other samples, v ↦ H v of those at poles, θ, *more) to the result."""

    def mend(
        poles: Poles, own: Callable[..., Any], found: Any, theta: Array, X: Array, T: Array, s: Array | None, *more: Any
    ) -> Any:
        odd = poles.samples(theta, X, T, s=s)
        if not len(odd):
            return found
        rest = _others(len(X), odd)
        if len(rest):
            total = own(theta, X[rest], T[rest], _some(s, rest), *more)
        else:
            total = [np.zeros_like(block) for block in found] if isinstance(found, list) else np.zeros_like(found)
        return complete(poles, found, total, partial(poles.product, theta, X[odd], T[odd], _some(s, odd)), theta, *more)

    return mend


def _columns(exact: bool) -> Callable[..., Array]:
    """Of a whole Hessian, or of its product with the columns of v."""

    def complete(poles: Poles, found: Array, total: Array, product: Callable[..., Array], theta: Array, *v: Array) -> Array:
        for some in _blocks(np.flatnonzero(np.isnan(found).any(axis=0))):
            total[:, some] += product(np.ascontiguousarray(v[0][:, some]) if v else _units(theta, some), exact=exact)
        return _replaced(found, total if v else (total + total.T) / 2)

    return complete


def _blocks(columns: Array) -> list[Array]:
    return [columns[at : at + _BLOCK] for at in range(0, len(columns), _BLOCK)]


def _units(theta: Array, which: Array) -> Array:
    """The columns of the identity with these numbers."""
    out = np.zeros((len(theta), len(which)), theta.dtype)
    out[which, np.arange(len(which))] = 1
    return out


def _diagonal(poles: Poles, found: Array, total: Array, product: Callable[..., Array], theta: Array) -> Array:
    for some in _blocks(np.flatnonzero(np.isnan(found))):
        total[some] += product(_units(theta, some), exact=True)[some, np.arange(len(some))]
    return _replaced(found, total)


def _unit_blocks(
    poles: Poles, found: list[Array], total: list[Array], product: Callable[..., Array], theta: Array, exact: bool
) -> list[Array]:
    for group, block, sums in zip(poles.groups, found, total, strict=True):
        for unit in np.flatnonzero(np.isnan(block).any(axis=(1, 2))).tolist():
            here = np.flatnonzero(group.index[unit] >= 0)
            which = group.index[unit, here]
            sums[unit][np.ix_(here, here)] += product(_units(theta, which), exact=exact)[which]
        _replaced(block, sums)
    return found


def _by_inputs(cut: Callable[[Array, Any], Array], each_output: bool = False) -> Callable[..., Array]:
    """What is cut out of the Hessian by inputs, for each sample and output that holds NaN, or each sample where V is given."""

    def mend(poles: Poles, own: Callable[..., Any], found: Array, theta: Array, X: Array, given: Array | None) -> Array:
        V = None if each_output else given
        odd = np.isnan(found).reshape(*found.shape[: 2 if V is None else 1], -1).any(axis=-1)
        for at in map(tuple, np.argwhere(odd).tolist()):
            v = np.eye(found.shape[1], dtype=X.dtype)[at[1]] if V is None else V[at[0]]
            whole = poles.input_hessian(theta, X[at[0]], v)
            found[at] = np.where(np.isnan(found[at]), cut(whole, given), found[at])
        return found

    return mend


MENDED: dict[str, Callable[..., Any]] = {
    "trace": _trace,
    "error_and_gradient": _summed(lambda poles, *args: (None, poles.gradient(*args)), 3, of_error=True, overflown=True),
    "per_sample_gradient": _per_sample_gradient,
    "jacobian": _jacobian(0),
    "weight_jacobian": _jacobian(1),
    "vjp": _summed(Poles.vjp, 2, of_error=False, overflown=True),
    "jvp": _jvp,
    "hessian": _products(_columns(exact=True)),
    "outer_product_hessian": _products(_columns(exact=False)),
    "hessian_product": _products(_columns(exact=True)),
    "outer_product_product": _products(_columns(exact=False)),
    "hessian_diagonal": _products(_diagonal),
    "unit_blocks": _products(_unit_blocks),
    "input_hessian": _by_inputs(lambda whole, _: whole),
    "input_hessian_diagonal": _by_inputs(lambda whole, _: whole.diagonal()),
    "laplacian": _by_inputs(lambda whole, lengths: (lengths * lengths * whole.diagonal()).sum(), each_output=True),
    "second_order_product": _summed(
        lambda poles, theta, X, V, U, v: poles.second(theta, X, U, v, V=V), 3, of_error=False, overflown=True
    ),
    "error_product": _summed(
        lambda poles, theta, X, T, s, U, v: poles.second(theta, X, U, v, batch=(T, s)), 4, of_error=True, overflown=False
    ),
}
"""How each method's result is mended: (poles, the method, its result, *its arguments)."""
