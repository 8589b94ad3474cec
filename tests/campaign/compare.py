"""Run every quantity of the face on a case, and say where one is not what the reference says."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

import graphbp as gb

from .paths import forced
from .reference import UNKNOWN, Reference, Triple

__all__ = ["FACTOR", "QUANTITIES", "SECOND", "Finding", "asked", "examine"]

FACTOR = 1.5
"""A difference of so many bounds is a fault.  The bounds count each rounding once; the largest ratio of right results is about 0.6."""


@dataclass(frozen=True)
class Finding:
    """A quantity of a backend that is wrong: how, and by what factor of the bound."""

    backend: str
    quantity: str
    kind: str
    """ "wrong", "not finite", "shape", "dtype", "changed", "asymmetric", or the exception's type"""
    detail: str
    ratio: float = np.inf


class Directions:
    """Fixed directions in outputs, inputs and parameters, of the dtype."""

    def __init__(self, ref):
        rng = np.random.default_rng(5)
        k = ref.y.v.shape[1]
        self.V, self.U, self.v, self.M = (
            rng.normal(size=shape).astype(ref.dtype) for shape in ((ref.n, k), (ref.n, ref.d), (ref.w,), (ref.w, 2))
        )
        self.wide = {name: getattr(self, name).astype(float) for name in "VUvM"}


def _blocks(net, batch, kind):
    return net.hessian_blocks(*batch, kind=kind)


QUANTITIES = {
    "forward": (lambda net, b, d: net.forward(b[0]), lambda r, d: r.forward()),
    "error": (lambda net, b, d: net.error(*b), lambda r, d: r.error_value()),
    "gradient": (lambda net, b, d: net.gradient(*b), lambda r, d: r.gradient()),
    "error_and_gradient": (lambda net, b, d: net.error_and_gradient(*b)[0], lambda r, d: r.error_value()),
    "per_sample_gradient": (lambda net, b, d: net.per_sample_gradient(*b), lambda r, d: r.per_sample_gradient()),
    "jacobian": (lambda net, b, d: net.jacobian(b[0]), lambda r, d: r.jacobian()),
    "jacobian_sparse": (lambda net, b, d: net.jacobian(b[0], sparse=True).toarray(), lambda r, d: _rows(r.jacobian())),
    "weight_jacobian": (lambda net, b, d: net.weight_jacobian(b[0]), lambda r, d: r.weight_jacobian()),
    "vjp": (lambda net, b, d: net.vjp(b[0], d.V), lambda r, d: r.vjp(d.wide["V"])),
    "jvp": (lambda net, b, d: net.jvp(b[0], d.U), lambda r, d: r.jvp(d.wide["U"])),
    "weight_vjp": (lambda net, b, d: net.weight_vjp(b[0], d.V), lambda r, d: r.weight_vjp(d.wide["V"])),
    "weight_jvp": (lambda net, b, d: net.weight_jvp(b[0], d.v), lambda r, d: r.weight_jvp(d.wide["v"])),
    "hessian": (lambda net, b, d: net.hessian(*b), lambda r, d: r.hessian()),
    "outer_product_hessian": (lambda net, b, d: net.outer_product_hessian(*b), lambda r, d: r.outer_product_hessian()),
    "hessian_diagonal": (lambda net, b, d: net.hessian_diagonal(*b), lambda r, d: r.hessian_diagonal()),
    "hessian_operator": (lambda net, b, d: net.hessian_operator(*b) @ d.v, lambda r, d: r.hessian_product(d.wide["v"])),
    "outer_product_operator": (
        lambda net, b, d: net.outer_product_operator(*b) @ d.v,
        lambda r, d: r.outer_product_product(d.wide["v"]),
    ),
    "hessian_blocks": (lambda net, b, d: _blocks(net, b, "exact"), None),
    "outer_product_blocks": (lambda net, b, d: _blocks(net, b, "outer_product"), None),
    "trace": (lambda net, b, d: net.trace(*b), None),
    "check": (lambda net, b, d: net.check(*b), None),
    "input_hessian": (lambda net, b, d: net.input_hessian(b[0]), lambda r, d: r.input_hessian()),
    "input_hessian_diagonal": (lambda net, b, d: net.input_hessian_diagonal(b[0]), lambda r, d: r.input_hessian_diagonal()),
    "laplacian": (lambda net, b, d: net.laplacian(b[0]), lambda r, d: r.laplacian()),
    "input_hvp": (lambda net, b, d: net.input_hvp(b[0], d.V, d.U), lambda r, d: r.input_hvp(d.wide["V"], d.wide["U"])),
    "second_order_product": (
        lambda net, b, d: np.concatenate([part.ravel() for part in net.second_order_product(b[0], d.V, d.U, d.v)]),
        lambda r, d: r.second_order_product(*(d.wide[name] for name in "VUv")),
    ),
    "mixed_jvp": (lambda net, b, d: net.mixed_jvp(*b[:2], d.v, *b[2:]), lambda r, d: r.mixed_jvp(d.wide["v"])),
    "mixed_vjp": (lambda net, b, d: net.mixed_vjp(*b[:2], d.U, *b[2:]), lambda r, d: r.mixed_vjp(d.wide["U"])),
}
"""Name → (what graphbp says, what the reference says); those without are compared part by part."""

BY_INPUTS = {"input_hessian", "input_hessian_diagonal", "laplacian", "input_hvp"}
MIXED = {"second_order_product", "mixed_jvp", "mixed_vjp"}
SECOND = {name for name in QUANTITIES if "hessian" in name or "outer" in name} - BY_INPUTS
"""Those that need the reference's Hessians: by the inputs, by the weights and both, by the weights."""


def asked(seed):
    """The quantities that a long campaign asks of a case: each of some cases, those of second order (the dear ones) of fewer."""
    rng = np.random.default_rng([*seed, 1])
    share = {True: 0.6 * (rng.random() < 0.25), False: 0.5}
    new = BY_INPUTS | MIXED
    drawn = [name for name in QUANTITIES if name not in new and rng.random() < (0.05 if name == "check" else share[name in SECOND])]
    shares = (BY_INPUTS, 0.5 * (rng.random() < 0.08)), (MIXED, 0.6 * (rng.random() < 0.02))
    drawn += [name for names, share in shares for name in sorted(names) if rng.random() < share]
    return drawn or ["gradient"]


def _rows(part):
    return part.each(lambda p: p.reshape(-1, p.shape[-1]))


def examine(case, backends=("numpy", "numba"), only=None, ratios=None, factor=FACTOR):
    """The findings of a case: at most one for each backend and quantity.

    `only` names the quantities to look at; `ratios` collects the largest ratio to the bound of each (backend, quantity, dtype).
    """
    wanted = list(QUANTITIES) if only is None else only
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        by_w, by_x = (bool((MIXED | names) & set(wanted)) for names in (SECOND, BY_INPUTS))
        ref = Reference(case.graph, case.error, case.dtype, case.X, case.T, case.s, second=by_w, by_x=by_x)
        look = _Look(ref, ratios, factor)
        batch = (case.X, case.given) if case.s is None else (case.X, case.given, case.s)
        found = []
        for backend in backends:
            with forced(backend, case.path):
                found += _one_backend(case, backend, wanted, batch, look)
        return found


def _one_backend(case, backend, wanted, batch, look):
    try:
        net = gb.Network(case.graph, error=case.usual, backend=backend, dtype=case.dtype)
    except Exception as problem:
        return [_raised(backend, "network", problem)]
    ref, found = look.ref, []
    d = Directions(ref)
    if (net.inputs, net.outputs) != (tuple(ref.inputs), tuple(ref.outputs)):
        found.append(Finding(backend, "network", "order", f"inputs {net.inputs}, outputs {net.outputs}"))
    if not np.array_equal(net.weights, ref.theta.astype(case.dtype)):
        found.append(Finding(backend, "network", "weights", f"{net.weights} for {ref.theta}"))
    if case.dirty:
        _soil(net, case)
    kept, given = [], _bytes(batch)
    for name in wanted:
        if name == "check" and not look.posed(case):
            continue
        try:
            result = QUANTITIES[name][0](net, batch, d)
        except Exception as problem:
            found.append(_raised(backend, name, problem))
            continue
        if isinstance(result, np.ndarray):
            kept.append((name, result, result.copy()))
        if finding := look.at(backend, name, result, d):
            found.append(finding)
    return found + _afterwards(net, backend, batch, kept, given)


def _bytes(batch):
    return [np.asarray(part).tobytes() for part in batch]


def _soil(net, case):
    """Other weights, and inputs that overflow, before the case's own: leaves inf and NaN in whatever is kept between calls."""
    theta = np.array(net.weights)
    X = np.full_like(case.X, 1e30 if case.dtype == "float32" else 1e300)
    net.weights = 0.5 - theta
    for call in (lambda: net.gradient(X, case.T), lambda: net.hessian(X, case.T), lambda: net.jacobian(X)):
        try:
            call()
        except Exception:  # the case's own calls say so
            continue
    net.weights = theta


def _afterwards(net, backend, batch, kept, given):
    """Whether results were still changed, or X, T and s were, and whether Hessians are symmetric to the bit."""
    found = []
    if any(name == "forward" for name, _, _ in kept):
        net.forward(-batch[0])
    for name, result, copy in kept:
        if not np.array_equal(result, copy, equal_nan=True):
            found.append(Finding(backend, name, "changed", "a later call changed this result"))
        if name in ("hessian", "outer_product_hessian") and not np.array_equal(copy, copy.T, equal_nan=True):
            found.append(Finding(backend, name, "asymmetric", f"by up to {np.max(np.abs(copy - copy.T)):.3g}"))
    if _bytes(batch) != given:
        found.append(Finding(backend, "network", "changed", "X, T or the sample weights were written to"))
    return found


def _raised(backend, name, problem):
    return Finding(backend, name, type(problem).__name__, str(problem)[:200])


class _Look:
    """Compares results with one reference."""

    def __init__(self, ref, ratios, factor):
        self.ref, self.ratios, self.factor = ref, ratios, factor
        sizes = [np.max(part.m[part.e < UNKNOWN], initial=1.0) for table in (ref.z, ref.a, ref.ga) for part in table.values()]
        self.peak = max(sizes)
        self.floor = 64 * ref.tiny * min(self.peak, 1e8 if ref.tiny > 1e-100 else 1e40) ** 2

    def posed(self, case):
        """Whether differences can tell: nothing is unknown, large or badly scaled."""
        ref = self.ref
        parts = [*ref.a.values(), ref.y, ref.en, ref.gn, *ref.ga.values()]
        return case.style in ("plain", "dense") and self.peak < 1e3 and all((part.e < UNKNOWN).all() for part in parts)

    def at(self, backend, name, result, d):
        if name == "check":
            bad = [str(row) for row in result.rows if not row.ok]
            return Finding(backend, name, "false alarm", "; ".join(bad)[:300]) if bad else None
        expected = QUANTITIES[name][1]
        if expected is not None:
            return self.compare(backend, name, result, expected(self.ref, d))
        for where, found, wanted in (self._trace if name == "trace" else self._unit_blocks)(name, result):
            finding = self.compare(backend, name, found, wanted, where)
            if finding:
                return finding
        return None

    def _trace(self, name, trace):
        for node in self.ref.g:
            live = node in self.ref.live
            for part, wanted in zip("az", self.ref.seen(node), strict=True):
                found = np.asarray(getattr(trace, part)[node])
                yield f"{part} of {node}", found.reshape(self.ref.n, -1), wanted
            delta = np.asarray(trace.delta[node]).reshape(self.ref.n, -1)
            if live:
                yield f"delta of {node}", delta, self.ref.delta(node)
            else:
                zero = np.zeros_like(delta)
                yield f"delta of {node}, which leads nowhere,", delta, Triple(zero, zero, zero)

    def _unit_blocks(self, name, blocks):
        H = self.ref.hessian() if name == "hessian_blocks" else self.ref.outer_product_hessian()
        for node in self.ref.place:
            index = self.ref.unit_index(node)
            if node not in blocks:
                yield f"no block of {node}", np.ones(1, self.ref.dtype), Triple(np.zeros(1), np.zeros(1), np.zeros(1))
                continue
            for k, at in enumerate(index):
                found = blocks[node].index[k]
                same = np.array_equal(found[found >= 0], at)
                yield f"index of {node}[{k}]", np.array([not same], self.ref.dtype), Triple(np.zeros(1), np.zeros(1), np.zeros(1))
                yield f"block of {node}[{k}]", blocks[node].block[k][: len(at), : len(at)], H[np.ix_(at, at)]

    def compare(self, backend, name, found, wanted, where=""):
        found = np.asarray(found)
        if found.shape != wanted.v.shape:
            return Finding(backend, name, "shape", f"{where} {found.shape} for {wanted.v.shape}")
        known = (wanted.e < UNKNOWN / 1e10) & (
            np.abs(wanted.v) < float(np.finfo(self.ref.dtype).max) / 4
        )  # raw units may leave the dtype
        if not known.any():
            return None
        if name not in ("error", "error_and_gradient", "jacobian_sparse") and found.dtype != self.ref.dtype:
            return Finding(backend, name, "dtype", f"{where} {found.dtype} for {self.ref.dtype}")
        odd = known & ~np.isfinite(found)
        if odd.any():
            at = tuple(int(i) for i in np.argwhere(odd)[0])
            power = 4 if name in SECOND | MIXED | BY_INPUTS else 2
            if self.peak**power > self.ref.largest:
                return None  # an intermediate product may overflow where the result would not
            return Finding(backend, name, "not finite", f"{where}{at}: {found[at]} for {wanted.v[at]:.17g}".strip())
        bound = np.where(known, wanted.e, np.inf) + self.floor
        ratio = np.where(known, np.abs(found.astype(float) - wanted.v), 0) / bound
        worst = np.unravel_index(np.argmax(ratio), ratio.shape) if ratio.ndim else ()
        if self.ratios is not None:
            key = (backend, name, self.ref.dtype)
            self.ratios[key] = max(self.ratios.get(key, 0.0), float(ratio[worst]))
        if ratio[worst] > self.factor:
            at = tuple(int(i) for i in worst)
            text = f"{where}{at}: {float(found[at])!r} for {float(wanted.v[at])!r}, {ratio[worst]:.3g} bounds of {wanted.e[at]:.2g}"
            return Finding(backend, name, "wrong", text.strip(), float(ratio[worst]))
        return None
