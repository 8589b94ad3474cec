"""Quantities that an executable leaves out, composed from those it has.

What is composed is exact, never differenced:

=======================  =============================================================================
error                    the first part of `error_and_gradient`
per_sample_gradient      `error_and_gradient` of each sample alone: N calls
jacobian                 K calls of `vjp` with unit vectors
weight_jacobian          `vjp` of each sample alone: N K calls
jvp                      `jacobian` times U, plus `weight_jacobian` times v
hessian                  `hessian_product` with the identity, in blocks
hessian_product          `hessian` times v
hessian_diagonal         the diagonal of `hessian`
unit_blocks              cut out of `hessian` or `outer_product_hessian`
error_product            `hessian_product` of each sample alone, on a network whose inputs parameters move: N calls
second_order_product     the same under the error Σ V y
input_hessian            K D calls of `second_order_product`; `input_hessian_diagonal` and `laplacian` too
outer_product_...        likewise
=======================  =============================================================================

An empty batch never reaches an executable, and gets an empty answer.  Nor do samples of weight 0: they add nothing to E and its
derivatives, whatever they would have overflowed to.
Weights of every output (N, K) reach those that say `many_heads`.

What does not lead to y_k has no say in ∂y_k, but a sweep that all outputs share multiplies its zeros by slopes of ∞ there (√ at 0, an
output that overflowed).  So samples whose Jacobian is not finite are swept again, each output in a part of the network of its own.
Other derivatives that hold NaN are mended by `graphbp.mending`.

Each use is announced once per network by a `ComposedWarning` that says what it costs.  Whatever is not in this table (`trace`, or
second order where an executable has none at all) is refused by name.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from graphbp.exceptions import NotSupportedError
from graphbp.foreign import zeros_as
from graphbp.mending import MENDED, mended
from graphbp.poles import Poles
from graphbp.protocols import OPTIONAL_METHODS, REQUIRED_METHODS, WEIGHTED_METHODS, Executable, TraceArrays
from graphbp.schedule import Schedule
from graphbp.second_order.by_inputs import diagonal_by_products, hessian_by_products, products_by_moving_inputs
from graphbp.second_order.moving_inputs import LINEAR, with_moving_inputs
from graphbp.threads import blas_on_one_thread

if TYPE_CHECKING:
    from graphbp.error_functions import ErrorFunction
    from graphbp.heads import HeadGroup
    from graphbp.second_order.plan import Group

__all__ = ["Composed", "ComposedWarning"]

_BLOCK = 64


class ComposedWarning(UserWarning):
    """A quantity is composed from slower parts because the backend has none of its own."""


class Composed:
    """An executable with every method of `FullExecutable`: its own where it has them, composed ones elsewhere."""

    def __init__(
        self,
        executable: Executable,
        schedule: Schedule,
        backend: str,
        part: Callable[..., Executable] | None = None,
        heads: tuple[HeadGroup, ...] = (),
        many_heads: bool = True,
    ) -> None:
        """`part` compiles a schedule made of this one, with some of its outputs, under the same error or another; `heads` are all of them.

        Without these nothing is swept again, or composed with inputs that move.

        `many_heads` : the executable takes weights of every output, (N, K).
        """
        self.executable: Any = executable
        self._part = part
        self._schedule = schedule
        self._backend, self._many_heads = backend, many_heads
        self._told: set[str] = set()
        self._moved: dict[str, Callable[..., Any]] = {}
        for name in REQUIRED_METHODS:
            setattr(self, name, getattr(executable, name))
        for name in OPTIONAL_METHODS:
            own = getattr(executable, name, None) or getattr(self, f"_{name}", None) or self._refuse(name)
            setattr(self, name, own)
        for name in ("jacobian", "weight_jacobian"):
            setattr(self, name, self._apart(getattr(self, name), weights=name == "weight_jacobian"))
        poles = Poles(schedule, heads)
        for name in MENDED if heads else ():
            setattr(self, name, mended(name, getattr(self, name), poles))
        for name in WEIGHTED_METHODS:
            setattr(self, name, self._without_zeros(name, getattr(self, name)))
        for name in (*REQUIRED_METHODS, *OPTIONAL_METHODS):
            if name not in (*WEIGHTED_METHODS, "describe"):
                setattr(self, name, self._of_samples(name, getattr(self, name)))

    if TYPE_CHECKING:  # the methods of `FullExecutable`

        def __getattr__(self, name: str) -> Callable[..., Any]: ...

    @property
    def composed(self) -> tuple[str, ...]:
        """The quantities that the executable itself lacks."""
        return tuple(name for name in OPTIONAL_METHODS if not hasattr(self.executable, name))

    def _without_zeros(self, name: str, own: Callable[..., Any]) -> Callable[..., Any]:
        """The method called without the samples whose weight is 0: 0 · ∞ is NaN, and they must count for nothing; not at all without samples."""

        @wraps(own)
        def call(theta: Any, X: Any, T: Any, s: Any, *more: Any) -> Any:
            if not len(X):
                return self._of_none(name, theta, X, T, s, *more)
            if s is None or (host := _on_host(s, self._backend, self._many_heads)).all():
                return own(theta, X, T, s, *more)
            kept = np.flatnonzero(host)
            if name == "trace":
                seen = own(theta, X, T, s)
                seen.delta[:, np.flatnonzero(host == 0)] = 0
                return seen
            if name == "error_product":
                U, v = more
                by_x, by_theta = zeros_as(theta, X.shape), zeros_as(theta, (len(theta),))
                if len(kept):
                    by_x[kept], by_theta = own(theta, X[kept], T[kept], s[kept], None if U is None else U[kept], v)
                return by_x, by_theta
            found = own(theta, X[kept], T[kept], s[kept], *more) if len(kept) else self._nothing(name, theta, *more)
            if name != "per_sample_gradient":
                return found
            out = zeros_as(theta, (len(X), len(theta)))
            out[kept] = found
            return out

        return call

    def _apart(self, own: Callable[..., Any], weights: bool) -> Callable[..., Any]:
        """A Jacobian (N, K, ·) whose samples that are not finite are swept again, output by output, without what leads to others."""

        @wraps(own)
        def call(theta: Any, X: Any) -> Any:
            found = own(theta, X)
            if self._part is None or np.isfinite(_summed(found)):
                return found
            odd = ~np.isfinite(found.get() if hasattr(found, "get") else found).all(axis=2)
            for together in self._schedule.output_groups:
                samples = np.flatnonzero(odd[:, together].any(axis=1))
                if len(samples):
                    run = self._part(self._schedule.of_outputs(together), together)
                    for row, k in enumerate(together.tolist()):
                        found[samples, k] = _swept(run, theta, X[samples], len(together), row, weights)
            return found

        return call

    def _nothing(self, name: str, theta: Any, *more: Any) -> Any:
        """What a method returns for no samples."""
        w = len(theta)
        if name == "error":
            return 0.0
        if name == "error_and_gradient":
            return 0.0, zeros_as(theta, (w,))
        if name == "unit_blocks":
            groups = self._groups()
            return [np.zeros((g.n_units, g.n_sources, g.n_sources), theta.dtype) for g in groups]
        shapes = {"hessian_diagonal": (w,), "per_sample_gradient": (0, w)}
        return zeros_as(theta, more[0].shape if more else shapes.get(name, (w, w)))

    def _of_samples(self, name: str, own: Callable[..., Any]) -> Callable[..., Any]:
        """The method, which no executable has to answer for an empty batch."""

        @wraps(own)
        def call(theta: Any, X: Any, *more: Any) -> Any:
            return own(theta, X, *more) if len(X) else self._of_none(name, theta, X, *more)

        return call

    def _of_none(self, name: str, theta: Any, X: Any, *more: Any) -> Any:
        """What a method returns for an X of shape (0, D)."""
        s, w, d = self._schedule, len(theta), X.shape[1]
        if name in ("vjp", "second_order_product", "error_product"):
            return zeros_as(theta, (0, d)), zeros_as(theta, (w,))
        if name == "trace":
            return TraceArrays(*(zeros_as(theta, (s.n_rows, 0)) for _ in range(3)))
        if name in WEIGHTED_METHODS:
            return self._nothing(name, theta, *more[2:])
        k = (s.n_outputs,) if name not in ("input_hessian", "input_hessian_diagonal") or more[0] is None else ()
        shapes = {"jacobian": (d,), "weight_jacobian": (w,), "input_hessian": (d, d), "input_hessian_diagonal": (d,)}
        return zeros_as(theta, (0, *k, *shapes.get(name, ())))

    def _groups(self) -> tuple[Group, ...]:
        from graphbp.second_order.plan import HessianPlan

        return HessianPlan.of(self._schedule).groups

    def _tell(self, name: str, cost: str) -> None:
        if name not in self._told:
            self._told.add(name)
            message = f"backend {self._backend!r} has no {name} of its own; it is composed from {cost}"
            warnings.warn(message, ComposedWarning, stacklevel=4)

    def _refuse(self, name: str) -> Callable[..., NoReturn]:
        def refused(*args: Any, **kwargs: Any) -> NoReturn:
            raise NotSupportedError(f"backend {self._backend!r} offers no {name}, and it cannot be composed; use another backend")

        return refused

    def _describe(self, n_samples: int) -> str:
        return f"backend {self._backend!r} says nothing about its paths"

    def _error(self, theta: Any, X: Any, T: Any, s: Any) -> float:
        return self.executable.error_and_gradient(theta, X, T, s)[0]  # type: ignore[no-any-return]  # the protocol's float

    def _per_sample_gradient(self, theta: Any, X: Any, T: Any, s: Any) -> Any:
        self._tell("per_sample_gradient", f"{len(X)} calls of error_and_gradient, one a sample")
        out = np.empty_like(theta, shape=(len(X), len(theta)))
        for n in range(len(X)):
            out[n] = self.executable.error_and_gradient(theta, X[n : n + 1], T[n : n + 1], None if s is None else s[n : n + 1])[1]
        return out

    def _jacobian(self, theta: Any, X: Any) -> Any:
        k = self._schedule.n_outputs
        self._tell("jacobian", f"{k} reverse sweeps, one an output")
        out = np.empty_like(theta, shape=(len(X), k, X.shape[1]))
        for row in range(k):
            out[:, row] = self.executable.vjp(theta, X, _unit(theta, (len(X), k), row))[0]
        return out

    def _weight_jacobian(self, theta: Any, X: Any) -> Any:
        k = self._schedule.n_outputs
        self._tell("weight_jacobian", f"{len(X) * k} calls of vjp, one a sample and output")
        out = np.empty_like(theta, shape=(len(X), k, len(theta)))
        for row in range(k):
            v = _unit(theta, (1, k), row)
            for n in range(len(X)):
                out[n, row] = self.executable.vjp(theta, X[n : n + 1], v)[1]
        return out

    @blas_on_one_thread
    def _jvp(self, theta: Any, X: Any, U: Any, v: Any) -> Any:
        out = zeros_as(theta, (len(X), self._schedule.n_outputs))
        if U is not None:
            out += (self.jacobian(theta, X) @ U[:, :, None])[:, :, 0]
        if v is not None:
            out += self.weight_jacobian(theta, X) @ v
        return out

    def _full(self, product: str, *args: Any) -> Any:
        theta = args[0]
        w = len(theta)
        self._tell(product.replace("_product", "", 1) if product == "hessian_product" else "outer_product_hessian", f"{w} products")
        multiply = self._own(product)
        out = np.empty_like(theta, shape=(w, w))
        for start in range(0, w, _BLOCK):
            stop = min(start + _BLOCK, w)
            identity = zeros_as(theta, (w, stop - start))
            identity[np.arange(start, stop), np.arange(stop - start)] = 1
            out[:, start:stop] = multiply(*args, identity)
        return (out + out.T) / 2

    def _own(self, name: str) -> Callable[..., Any]:
        own: Callable[..., Any] | None = getattr(self.executable, name, None)
        return own if own is not None else self._refuse(name)

    def _hessian(self, *args: Any) -> Any:
        return self._full("hessian_product", *args)

    def _outer_product_hessian(self, *args: Any) -> Any:
        return self._full("outer_product_product", *args)

    @blas_on_one_thread
    def _hessian_product(self, theta: Any, X: Any, T: Any, s: Any, v: Any) -> Any:
        self._tell("hessian_product", "the full Hessian")
        return self._own("hessian")(theta, X, T, s) @ v

    @blas_on_one_thread
    def _outer_product_product(self, theta: Any, X: Any, T: Any, s: Any, v: Any) -> Any:
        self._tell("outer_product_product", "the full outer-product Hessian")
        return self._own("outer_product_hessian")(theta, X, T, s) @ v

    def _hessian_diagonal(self, *args: Any) -> Any:
        self._tell("hessian_diagonal", "the full Hessian")
        return self.hessian(*args).diagonal().copy()

    def _unit_blocks(self, theta: Any, X: Any, T: Any, s: Any, exact: bool) -> list[Any]:
        self._tell("unit_blocks", "the full Hessian")
        full = (self.hessian if exact else self.outer_product_hessian)(theta, X, T, s)
        host = full.get() if hasattr(full, "get") else full
        return [host[group.index[:, :, None], group.index[:, None, :]] for group in self._groups()]

    def _error_product(self, theta: Any, X: Any, T: Any, s: Any, U: Any, v: Any) -> tuple[Any, Any]:
        multiply = self._moving("error_product", None, len(X))
        return products_by_moving_inputs(multiply, theta, X, T, s, U, v)

    def _second_order_product(self, theta: Any, X: Any, V: Any, U: Any, v: Any) -> tuple[Any, Any]:
        multiply = self._moving("second_order_product", LINEAR, len(X))
        return products_by_moving_inputs(multiply, theta, X, V, None, U, v)

    def _moving(self, name: str, error: ErrorFunction | None, n_samples: int) -> Callable[..., Any]:
        """Products with the Hessian by θ and by what moves the inputs, compiled when first asked for."""
        if name not in self._moved:
            part = self._part if hasattr(self.executable, "hessian_product") or hasattr(self.executable, "hessian") else None
            if part is None:
                return self._refuse(name)
            outputs = np.arange(self._schedule.n_outputs)
            run: Any = part(with_moving_inputs(self._schedule), outputs, *([] if error is None else [error]))
            own: Callable[..., Any] | None = getattr(run, "hessian_product", None)
            self._moved[name] = own if own is not None else lambda *args: run.hessian(*args[:-1]) @ args[-1]
            self._tell(name, f"{n_samples} products with the Hessian, one a sample")
        return self._moved[name]

    def _input_hessian(self, theta: Any, X: Any, V: Any) -> Any:
        k = self._schedule.n_outputs
        self._tell("input_hessian", f"{X.shape[1] * (k if V is None else 1)} calls of second_order_product")
        return hessian_by_products(self.second_order_product, k, theta, X, V)

    def _input_hessian_diagonal(self, theta: Any, X: Any, V: Any) -> Any:
        k = self._schedule.n_outputs
        self._tell("input_hessian_diagonal", f"{X.shape[1] * (k if V is None else 1)} calls of second_order_product")
        return diagonal_by_products(self.second_order_product, k, theta, X, V)

    def _laplacian(self, theta: Any, X: Any, lengths: Any) -> Any:
        k = self._schedule.n_outputs
        self._tell("laplacian", f"{X.shape[1] * k} calls of second_order_product")
        return diagonal_by_products(self.second_order_product, k, theta, X, None, lengths)


def _on_host(s: Any, backend: str, many_heads: bool) -> Any:
    """(N,) the weights of the samples, or 1 for those of which some output has a weight."""
    host = s.get() if hasattr(s, "get") else s
    if host.ndim == 1:
        return host
    if not many_heads:
        raise NotSupportedError(
            f"backend {backend!r} weighs samples, not the outputs of a sample: error weights, missing targets and sample_weight (N, K) need "
            "another backend"
        )
    return host.any(axis=1)


def _summed(values: Any) -> float:
    """Σ of an array, which is finite only where every number is; it may overflow where they are."""
    with np.errstate(all="ignore"):
        return float(values.sum().item())


def _swept(run: Any, theta: Any, X: Any, n_outputs: int, k: int, weights: bool) -> Any:
    """∂y_k/∂x (N, D) or ∂y_k/∂θ (N, W) by reverse sweeps."""
    with np.errstate(all="ignore"):
        if not weights:
            return run.vjp(theta, X, _unit(theta, (len(X), n_outputs), k))[0]
        out = np.empty_like(theta, shape=(len(X), len(theta)))
        for n in range(len(X)):
            out[n] = run.vjp(theta, X[n : n + 1], _unit(theta, (1, n_outputs), k))[1]
        return out


def _unit(like: Any, shape: tuple[int, int], column: int) -> Any:
    out = zeros_as(like, shape)
    out[:, column] = 1
    return out
