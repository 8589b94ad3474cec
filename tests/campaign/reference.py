"""What every quantity of the face should be, from the DiGraph itself, with a bound on what rounding may do to it.

Derivatives are carried forward: every unit has, for each sample, a and z, their gradients by (θ, x, ε) and their Hessians by θ, by x, or by
both; ε_j is added to a_j, so that ∂E/∂ε_j is δ_j.  Nothing here is swept backwards, and no line is graphbp's.

Each number is three: its value v, the sum m of the magnitudes of the paths' products that make it up, and a bound e on its error.  Sums of
path products are the same in whatever order a sweep brackets them, so e bounds the reverse sweep's rounding too:

    a = Σ w z           e_a = Σ |w| e_z + c u Σ |w z|
    z = h(a)            e_z = max |h(a ± e_a) − h(a)| + c u |h|           (so a kink, a pole or a steep flank within a ± e_a shows)
    ∇z = h' ∇a          e = |h'| e_∇a + e_h' m_∇a + c u |h'| m_∇a

with u the spacing of the dtype.  A number that is tiny because a unit is saturated has a bound that is tiny too.  What overflows, or is
undetermined, has the bound `UNKNOWN` and is compared with nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import networkx as nx
import numpy as np

from .formulas import CANONICAL, CLAMPED, ERRORS, PIECEWISE, activate

__all__ = ["UNKNOWN", "Reference", "Triple", "aggregated", "layout", "roles"]

UNKNOWN = 1e200
_HUGE = 1e300
_NORMAL, _SUBNORMAL = 2.3e-308, 1e-323
_LARGEST = {"float32": 1e36, "float64": 1e150}
_ROUGH = 0.05  # an a less certain than this says nothing about a curved activation


@dataclass
class Triple:
    """Value, sum of magnitudes, bound on the error: three arrays of one shape."""

    v: np.ndarray
    m: np.ndarray
    e: np.ndarray

    def __getitem__(self, key):
        return Triple(self.v[key], self.m[key], self.e[key])

    def each(self, function):
        return Triple(function(self.v), function(self.m), function(self.e))

    def __iadd__(self, other):
        self.v += other.v
        self.m += other.m
        self.e += other.e
        return self

    def __add__(self, other):
        return Triple(self.v + other.v, self.m + other.m, self.e + other.e)

    def __neg__(self):
        return Triple(-self.v, self.m, self.e)

    def grown(self, u):
        """With the rounding of one operation more."""
        return Triple(self.v, self.m, self.e + u * self.m)

    def settled(self, largest):
        """What is not finite or beyond `largest` becomes 0 ± UNKNOWN, so that it spoils only what it feeds."""
        bad = ~(np.isfinite(self.v) & (self.m <= largest) & (self.e <= UNKNOWN))
        if bad.any():
            return Triple(np.where(bad, 0, self.v), np.where(bad, 0, self.m), np.where(bad, _HUGE, self.e))
        return self


def zeros(shape):
    return Triple(np.zeros(shape), np.zeros(shape), np.zeros(shape))


def times(a, b, u):
    """The product, elementwise with broadcasting."""
    m = a.m * b.m
    e = a.e * b.m + a.m * b.e + a.e * b.e + u * m
    e = e + np.where(
        (m < _NORMAL) & (a.m > 0) & (b.m > 0), _SUBNORMAL, 0
    )  # a product here that leaves float64's range loses digits
    for one, other in ((a, b), (b, a)):
        if one.e.size and one.e.max() >= UNKNOWN:  # only a true 0 makes the unknown 0
            e = np.where((one.e >= UNKNOWN) & ((other.m > 0) | (other.e > 0)), _HUGE, e)
    return Triple(a.v * b.v, m, e)


def scaled(a, c):
    """c · a for an exact array c."""
    return Triple(a.v * c, a.m * np.abs(c), a.e * np.abs(c))


def total(a, axis, u):
    """Σ over an axis."""
    m = a.m.sum(axis)
    return Triple(a.v.sum(axis), m, a.e.sum(axis) + u * (2 + a.v.shape[axis] / 4) * m)


def roles(g):
    """(inputs, outputs): nodes by their role, else sources and sinks; a role that anybody names is nobody's by default."""
    said = {n: d.get("role") for n, d in g.nodes(data=True)}
    inputs = [n for n in g if said[n] == "input"] or [n for n in g if said[n] is None and not g.in_degree(n)]
    outputs = [n for n in g if said[n] == "output"]
    return inputs, outputs or [n for n in g if said[n] is None and not g.out_degree(n) and n not in inputs]


def _entries(weight, each=0):
    """(rows, columns, values) of a weight's entries in the order of θ; of so many units that are taken each by itself, by one value or more."""
    if each:
        values = np.atleast_1d(np.asarray(weight, float))
        return np.arange(each), np.arange(each), values
    if hasattr(weight, "tocsr"):
        csr = weight.tocsr().copy()
        csr.sum_duplicates()
        return np.repeat(np.arange(csr.shape[0]), np.diff(csr.indptr)), csr.indices.astype(int), csr.data
    array = np.atleast_2d(np.asarray(weight, float))
    rows, columns = array.shape
    return np.repeat(np.arange(rows), columns), np.tile(np.arange(columns), rows), array.ravel()


def layout(g):
    """(W, θ, edge → (rows, columns, values, positions), node → positions of the bias): destinations in graph order, predecessors in theirs, then the bias."""
    tied, edges, biases, theta = {}, {}, {}, []

    def place(values, attributes):
        if not attributes.get("trainable", True):
            return np.full(len(values), -1)
        tie = attributes.get("tie")
        if tie is not None and tie in tied:
            return tied[tie]
        at = np.arange(len(theta), len(theta) + len(values))
        theta.extend(values)
        if tie is not None:
            tied[tie] = at
        return at

    for node in g:
        for source in g.pred[node]:
            d, units = g.edges[source, node], g.nodes[node].get("units", 1)
            each = units if g.nodes[node].get("aggregation", "sum") != "sum" else 0
            rows, columns, values = _entries(d["weight"], each)
            at = place(values, d)
            if each:
                values, at = np.broadcast_to(values, (units,)), np.broadcast_to(at, (units,))
            edges[source, node] = rows, columns, values, at
        d = g.nodes[node]
        if d.get("bias") is not None:
            biases[node] = place(np.broadcast_to(np.asarray(d["bias"], float), (d.get("units", 1),)), d)
    return len(theta), np.array(theta, float), edges, biases


class Reference:
    """The network of `g` on one batch; `second` is needed for Hessians by θ, `by_x` for those by the inputs, and they cost most."""

    def __init__(self, g, error, dtype, X, T, s=None, second=True, by_x=False):
        self.g, self.error, self.dtype, self.second = g, error, dtype, second or by_x
        self.u = float(np.finfo(dtype).eps)
        self.tiny, self.largest = float(np.finfo(dtype).tiny), _LARGEST[dtype]
        self.inputs, self.outputs = roles(g)
        self.raw = np.asarray(X, float)
        self.n, (shift, self.x_scale) = len(self.raw), self._affine(self.inputs)
        self.X = ((self.raw - shift) / self.x_scale).astype(dtype).astype(float)
        self.y_shift, self.y_scale = self._affine(self.outputs)
        self.T = ((np.asarray(T, float) - self.y_shift) / self.y_scale).astype(dtype).astype(float)
        self.w, self.theta, self.edge_at, self.bias_at = layout(g)
        self.d = self.X.shape[1]
        self.curved = slice(0 if second else self.w, self.w + self.d if by_x else self.w)
        self.s = np.ones(self.n) if s is None else np.asarray(s, float)
        self.live = set(self.outputs).union(*(nx.ancestors(g, o) for o in self.outputs))
        self.order = list(nx.topological_sort(g))
        self.units = {node: g.nodes[node].get("units", 1) for node in g}
        self.place, row = {}, self.w + self.d
        for node in self.order:
            if node not in self.inputs:
                self.place[node] = row
                row += self.units[node]
        self.p = row
        self.a, self.z, self.ga, self.gz, self.ha, self.hz = {}, {}, {}, {}, {}, {}
        with np.errstate(all="ignore"):
            self._forward()
            self._heads()

    def _affine(self, nodes):
        """(shift, scale) of the columns of X, or of Y."""
        return [
            np.concatenate(
                [np.broadcast_to(self.g.nodes[n].get(key, default), (self.g.nodes[n].get("units", 1),)) for n in nodes]
            ).astype(float)
            for key, default in (("shift", 0.0), ("scale", 1.0))
        ]

    # -- units ----------------------------------------------------------------------------------------------------------------

    def _forward(self):
        column = 0
        for node in self.inputs:
            k = self.units[node]
            x = self.X[:, column : column + k].T.copy()
            self.a[node] = self.z[node] = Triple(x, np.abs(x), np.zeros_like(x))
            gz = zeros((k, self.n, self.p))
            at = np.arange(k), slice(None), self.w + column + np.arange(k)
            gz.v[at] = gz.m[at] = 1
            self.ga[node] = self.gz[node] = gz
            column += k
        for node in self.order:
            if node not in self.z:
                self._unit(node)

    def _unit(self, node):
        d, k, u = self.g.nodes[node], self.units[node], self.u
        live = node in self.live
        a, ga, ha, fan = zeros((k, self.n)), zeros((k, self.n, self.p)), None, 1
        if self.second and live:
            q = self.curved.stop - self.curved.start
            ha = zeros((k, self.n, q, q))
        kind, terms = d.get("aggregation", "sum"), []
        for source in self.g.pred[node]:
            rows, columns, values, at = self.edge_at[source, node]
            values = np.asarray(values, self.dtype).astype(float)
            weight, size = np.zeros((2, k, self.units[source]))
            weight[rows, columns] = values
            size[rows, columns] = np.maximum(np.abs(values), 1e-60)  # 0 · UNKNOWN is unknown
            fan += self.units[source]

            def mix(part, planes=(weight, size, size)):
                flat = zip(planes, _planes(part), strict=True)
                return Triple(*((w @ p.reshape(len(p), -1)).reshape(k, *p.shape[1:]) for w, p in flat))

            if kind != "sum":
                exact = (self.z[source].e == 0) & (np.abs(weight).sum(1) == 1)[:, None]
                terms.append(self._moved(mix, source, (rows, columns, at), exact, live, ha is not None))
                continue
            a += mix(self.z[source])
            if not live:
                continue
            ga += mix(self.gz[source])
            self._by_own(ga, ha, source, rows, columns, at)
            if ha is not None and source in self.hz:
                ha += mix(self.hz[source])
        if terms:
            a, *moved = aggregated(kind, terms, self.curved, u)
            ga, ha = moved if live else (ga, ha)
        if d.get("bias") is not None:
            bias = np.broadcast_to(np.asarray(d["bias"], self.dtype).astype(float), (k,))[:, None]
            a += Triple(bias, np.abs(bias), 0 * bias)
        if live:
            self._own(ga, node, k)
        c = u * (2 + fan / 4)
        self.a[node] = a = a.grown(c).settled(self.largest)
        self.ga[node] = ga = ga.grown(c).settled(self.largest)
        if ha is not None:
            self.ha[node] = ha = ha.grown(c).settled(self.largest)
        if d.get("activation") == "softmax":
            return
        self.z[node], h1, h2 = self._activation(d.get("activation", "identity"), a)
        if live:
            self.gz[node] = times(h1[..., None], ga, 2 * u).settled(self.largest)
        if ha is not None:
            g = ga[..., self.curved]
            curved = times(h2[..., None, None], times(g[..., None], g[..., None, :], u), 2 * u)
            self.hz[node] = (curved + times(h1[..., None, None], ha, 2 * u)).settled(self.largest)

    def _moved(self, mix, source, places, exact, live, second):
        """(s, ∇s, its Hessian) of s = w z, each unit by itself, to the rounding of a product where it is no `exact` one."""
        a, ga, ha = mix(self.z[source]), None, None
        a.e = np.where(exact, 0, a.e + self.u * a.m)
        if live:
            ga = mix(self.gz[source])
            if second:
                ha = (
                    mix(self.hz[source])
                    if source in self.hz
                    else zeros((*ga.v.shape[:2], *2 * (self.curved.stop - self.curved.start,)))
                )
            self._by_own(ga, ha, source, *places)
            ga, ha = ga.grown(self.u), ha and ha.grown(self.u)
        return a, ga, ha

    def _by_own(self, ga, ha, source, rows, columns, at):
        """What the edge's free weights add to ∇a and the Hessian of a."""
        free = at >= 0
        r, c, at = rows[free], columns[free], at[free]
        _add(ga, (r, slice(None), at), self.z[source][c].grown(self.u))
        if ha is not None and len(at) and self.curved.start == 0:
            _add(ha, (r, slice(None), at), self.gz[source][c][..., self.curved])
            _add(ha, (r, slice(None), slice(None), at), self.gz[source][c][..., self.curved])

    def _own(self, ga, node, k):
        at = self.bias_at.get(node, np.empty(0, int))
        r = np.flatnonzero(at >= 0)
        for rows, columns in ((r, at[r]), (np.arange(k), self.place[node] + np.arange(k))):
            ga.v[rows, :, columns] += 1
            ga.m[rows, :, columns] += 1

    def _activation(self, name, a):
        """z, h', h'' at an uncertain a."""
        at = np.stack([a.v, a.v - a.e, a.v + a.e])
        f, f1, f2, s1, s2 = activate(name, at)
        rough = a.e > (1e100 if name in PIECEWISE else _ROUGH)
        tiny = 0.0 if name in PIECEWISE else self.tiny
        argument = 16 if name in CLAMPED else 1  # at a clamp the rounding of its limit, up to 60 in an exponent, shows in no a ± e
        return [
            self._uncertain(value, size, rough, argument * noise, tiny)
            for value, size, noise in ((f, np.abs(f), 4), (f1, s1, 6), (f2, s2, 8))
        ]

    def _uncertain(self, value, size, rough, noise, tiny=0.0):
        e = np.abs(value[1:] - value[0]).max(0) + noise * self.u * size[0] + tiny
        return Triple(value[0], np.abs(value[0]), np.where(rough, _HUGE, e)).settled(self.largest)

    # -- outputs --------------------------------------------------------------------------------------------------------------

    def _heads(self):
        """y and its gradient, E_n and its first two derivatives, the outer product: arrays with the samples first."""
        n, u, q = self.n, self.u, self.curved.stop - self.curved.start
        self.y, self.gy = zeros((n, 0)), zeros((n, 0, self.p))
        self.en, self.gn = zeros(n), zeros((n, self.p))
        self.hn, self.on = (zeros((n, q, q)), zeros((n, q, q))) if self.second else (None, None)
        columns, groups, column = {}, [], 0
        for node in self.outputs:
            columns[node] = np.arange(column, column + self.units[node])
            column += self.units[node]
        soft = [node for node in self.outputs if self.g.nodes[node].get("activation") == "softmax"]
        groups = [[node] for node in soft if self.units[node] > 1]
        if len(singles := [node for node in soft if self.units[node] == 1]):
            groups.append(singles)
        y, gy, hy = {}, {}, dict(self.hz)
        for node in self.outputs:
            if node not in soft:
                y[node], gy[node] = self.z[node], self.gz[node]
                self._elementwise(node, self.T[:, columns[node]].T)
        for group in groups:
            at = np.concatenate([columns[node] for node in group])
            parts = self._softmax(group, self.T[:, at].T)
            start = 0
            for node in group:
                y[node], gy[node], hy[node] = (part and part[start : start + self.units[node]] for part in parts)
                start += self.units[node]
        if self.curved.stop > self.w:
            self.hy = _joined([hy[node] for node in self.outputs]).each(lambda part: part.swapaxes(0, 1))
            self.hy.e[_joined([y[node] for node in self.outputs]).each(np.transpose).e >= UNKNOWN] = _HUGE
        self.y = _joined([y[node] for node in self.outputs]).each(lambda part: part.swapaxes(0, 1))
        self.gy = _joined([gy[node] for node in self.outputs]).each(lambda part: part.swapaxes(0, 1))
        self.gy.e[self.y.e >= UNKNOWN] = _HUGE
        self._outward()
        for name in ("en", "gn", *(("hn", "on") if self.second else ())):
            setattr(self, name, getattr(self, name).grown(2 * u).settled(self.largest))

    def _outward(self):
        """y and its gradients in the units of raw y and raw x."""
        if (self.y_shift != 0).any() or (self.y_scale != 1).any():
            y = scaled(self.y, self.y_scale)
            self.y = Triple(self.y_shift + y.v, np.abs(self.y_shift) + y.m, y.e).grown(2 * self.u)
            self.gy = scaled(self.gy, self.y_scale[:, None]).grown(2 * self.u)
        if (self.x_scale != 1).any():
            by_x = np.ones(self.p)
            by_x[self.w : self.w + self.d] = 1 / self.x_scale
            self.gy = scaled(self.gy, by_x).grown(2 * self.u)

    def _spoil(self, *parts):
        """Where E, or a derivative of it by an output's a, is unknown, every derivative of that sample is."""
        bad = np.any([(part.e >= UNKNOWN).any(tuple(range(part.e.ndim - 1))) for part in parts], 0)
        for each in (self.en, self.gn, self.hn, self.on):
            if each is not None:
                each.e[bad] = _HUGE

    def _collect(self, d1, ga, ha):
        """E's derivatives from ∂E/∂a (k, N)."""
        self.gn += total(times(d1[..., None], ga, 2 * self.u), 0, self.u)
        if self.second:
            self.hn += total(times(d1[..., None, None], ha, 2 * self.u), 0, self.u)

    def _square(self, curvature, left, right, exact):
        """Σ c g gᵀ into the outer product, and into the Hessian too."""
        part = times(curvature[..., None, None], times(left[..., None], right[..., None, :], self.u), 2 * self.u)
        for total_, wanted in ((self.hn, exact != "outer"), (self.on, exact != "hessian")):
            if wanted:
                total_ += part

    def _said(self, node):
        """(error, weight) of an output."""
        return self.g.nodes[node].get("error", self.error), self.g.nodes[node].get("error_weight", 1.0)

    def _elementwise(self, node, t):
        error, weight = self._said(node)
        name, a, ga, u = self.g.nodes[node].get("activation", "identity"), self.a[node], self.ga[node], self.u
        ha = self.ha.get(node)
        if (error, name) in CANONICAL:
            at = np.stack([a.v, a.v - a.e, a.v + a.e])
            e, d1, d2, m, m1, m2 = CANONICAL[error, name](at, t)
            rough = a.e > (1e100 if name == "identity" else _ROUGH)
            e, d1, d2 = (self._uncertain(p, q, rough, 6, self.tiny) for p, q in ((e, m), (d1, m1), (d2, m2)))
            d1.e += u * _soft(t) * t
            lam = d2
        else:
            y, h1, h2 = self._activation(name, a)
            e, e1, e2, m, m1, m2 = ERRORS[error](np.stack([y.v, y.v - y.e, y.v + y.e]), t)
            rough = self._pole(y, t, error)
            e, e1, e2 = (self._uncertain_sum(p, q, rough) for p, q in ((e, m), (e1, m1), (e2, m2)))
            d1 = times(e1, h1, u)
            lam = times(e2, times(h1, h1, u), u)
            d2 = lam + times(e1, h2, u)
        e, d1, d2, lam = (scaled(part, weight) for part in (e, d1, d2, lam))
        self.en += total(e, 0, u)
        self._collect(d1, ga, ha)
        self._spoil(e, d1, d2, lam)
        if self.second:
            g = ga[..., self.curved]
            for k in range(len(g.v)):
                self._square(lam[k], g[k], g[k], "outer")
                self._square(d2[k], g[k], g[k], "hessian")

    @staticmethod
    def _pole(y, t, error):
        """Where y is unknown, or a pole of the error, t/y or (1 − t)/(1 − y), is within its rounding: a rounded y of 1 says nothing."""
        rough = y.e >= UNKNOWN
        if error != "sum_of_squares":
            rough |= (t > 0) & (y.v <= y.e)
        if error == "binary_cross_entropy":
            rough |= (t < 1) & (1 - y.v <= y.e)
        return rough

    def _uncertain_sum(self, value, size, rough):
        """As `_uncertain`, for a sum whose terms' magnitudes add up to `size`."""
        part = self._uncertain(value, size, rough, 6)
        return Triple(part.v, np.where(part.e >= UNKNOWN, 0, size[0]), part.e)

    def _softmax(self, group, t):
        """y (k, N) and ∂y of a softmax; E_n and its derivatives are added up."""
        u = self.u
        a, ga = _joined([self.a[node] for node in group]), _joined([self.ga[node] for node in group])
        y, others, p = self._probabilities(a)
        slopes = zeros(ga.v.shape)
        for j in range(len(a.v)):
            slopes += times(p[:, j][..., None], ga[j], 2 * u)
        error, weight = self._said(group[0])
        if error == "cross_entropy":
            e, d1 = self._cross_entropy(a, y, others, t / t.sum(0))
            d2 = lam = p
        else:
            e, d1, d2, lam = self._softmax_chain(y, p, t, error)
        e, d1, d2, lam = (scaled(part, weight) for part in (e, d1, d2, lam))
        self.en += e
        self._collect(d1, ga, _joined([self.ha[node] for node in group]) if self.second else None)
        self._spoil(d1, d2, lam)
        if self.second:
            g = ga[..., self.curved]
            for i in range(len(a.v)):
                for j in range(len(a.v)):
                    self._square(lam[i, j], g[i], g[j], "outer")
                    self._square(d2[i, j], g[i], g[j], "hessian")
        bent = self._softmax_bends(y, others, p, group) if self.curved.stop > self.w else None
        return y, slopes.settled(self.largest), bent

    def _softmax_bends(self, y, others, p, group):
        """∂²y: Σ_j p_cj ∂²a_j + Σ_ij y_c ((1_ci − y_i)(1_cj − y_j) − p_ij) ∇a_i ∇a_j."""
        u, k = self.u, len(y.v)
        ha, g = _joined([self.ha[node] for node in group]), _joined([self.ga[node] for node in group])[..., self.curved]
        out = zeros(ha.v.shape)
        for c in range(k):
            for i in range(k):
                _add(out, c, times(p[c, i][:, None, None], ha[i], 2 * u))
                for j in range(k):
                    left, right = (others[c] if b == c else -y[b] for b in (i, j))
                    factor = times(y[c], times(left, right, u) + -p[i, j], 2 * u)
                    _add(out, c, times(factor[:, None, None], times(g[i][..., None], g[j][..., None, :], u), 2 * u))
        return out.settled(self.largest)

    def _probabilities(self, a):
        """(y, 1 − y, ∂y/∂a) of a softmax; 1 − y_k is the sum of the other y_c, so that it keeps its digits."""
        u, k = self.u, len(a.v)
        each = np.exp(a.v - a.v.max(0))
        y = each / each.sum(0)
        relative = np.expm1(np.minimum(a.e + (y * a.e).sum(0) + 6 * u, 50))
        bound = np.minimum(y * relative, 1) + self.tiny
        y = Triple(y, y, np.where((a.e >= UNKNOWN).any(0), _HUGE, bound))
        rest = y.each(lambda part: np.array([np.delete(part, i, 0).sum(0) for i in range(k)])).grown(k * u)
        p = zeros((k, k, self.n))
        for i in range(k):
            for j in range(k):
                part = times(y[i], rest[i] if i == j else y[j], 2 * u)
                _add(p, (i, j), part if i == j else -part)
        return y, rest, p.settled(self.largest)

    def _cross_entropy(self, a, y, others, t):
        """δ = y − t of −Σ t ln y = Σ_k t_k ln Σ_c exp(a_c − a_k), after its values."""
        u, k = self.u, len(a.v)
        top = np.arange(k)[:, None] == a.v.argmax(0)
        rest = np.exp(np.where(top, -np.inf, a.v - a.v.max(0))).sum(0)
        cost = np.where(t == 0, 0, a.v.max(0) - a.v + np.log1p(rest))
        spread = np.array([(np.delete(y.v, i, 0) * (np.delete(a.e, i, 0) + a.e[i])).sum(0) for i in range(k)])
        e = total(Triple(t * cost, t * cost, t * (spread + 6 * u * cost + self.tiny)), 0, u)
        d1 = scaled(y, 1 - t) + -scaled(others, t)
        d1.e += u * _soft(t) * y.v
        return e, d1.grown(4 * u)

    def _softmax_chain(self, y, p, t, error):
        """(E_n, ∂E/∂a, R, Λ) by the chain rule through y."""
        u, k = self.u, len(y.v)
        e, e1, e2, m, m1, m2 = ERRORS[error](np.stack([y.v, y.v - y.e, y.v + y.e]), t)
        rough = self._pole(y, t, error)
        e, e1, e2 = (self._uncertain_sum(r, z, rough) for r, z in ((e, m), (e1, m1), (e2, m2)))
        d1, lam = zeros((k, self.n)), zeros((k, k, self.n))
        for c in range(k):
            d1 += times(p[:, c], e1[c], 2 * u)
            lam += times(times(p[:, c][:, None], p[c][None], u), e2[c], 2 * u)
        d2 = lam + zeros(lam.v.shape)
        for i in range(k):
            _add(d2, (i, i), d1[i])
            for j in range(k):
                _add(d2, (i, j), -(times(d1[i], y[j], 2 * u) + times(y[i], d1[j], 2 * u)))
        return total(e, 0, u), d1, d2, lam

    # -- quantities -----------------------------------------------------------------------------------------------------------

    def _summed(self, part):
        kept = self.s > 0
        s = self.s[kept].reshape(-1, *(1,) * (part.v.ndim - 1))
        return total(scaled(part[kept], s), 0, self.u)

    def forward(self):
        return self.y

    def error_value(self):
        return self._summed(self.en).grown(self.u * self.en.v.size * self.T.shape[1] / 4)  # all terms may be one sum, in any order

    def gradient(self):
        return self._summed(self.gn[:, : self.w])

    def per_sample_gradient(self):
        return self._weighted(self.gn[:, : self.w])

    def _weighted(self, part):
        out = scaled(part, self.s.reshape(-1, *(1,) * (part.v.ndim - 1)))
        out.e[self.s == 0] = 0
        return out

    def jacobian(self):
        return self.gy[..., self.w : self.w + self.d]

    def weight_jacobian(self):
        return self.gy[..., : self.w]

    def vjp(self, V):
        return total(scaled(self.jacobian(), V[:, :, None]), 1, self.u)

    def jvp(self, U):
        return self._where_known(total(scaled(self.jacobian(), U[:, None, :]), 2, self.u))

    def weight_vjp(self, V):
        return total(total(scaled(self.weight_jacobian(), V[:, :, None]), 1, self.u), 0, self.u)

    def weight_jvp(self, v):
        return self._where_known(total(scaled(self.weight_jacobian(), v), 2, self.u))

    def _where_known(self, moved):
        """ẏ of an output that overflowed is undetermined, though nothing should move it."""
        moved.e[self.y.e >= UNKNOWN] = _HUGE
        return moved

    @cached_property
    def _hessian(self):
        return self._summed(self.hn[:, : self.w, : self.w])

    @cached_property
    def _outer(self):
        return self._summed(self.on[:, : self.w, : self.w])

    def hessian(self):
        return self._hessian

    def outer_product_hessian(self):
        return self._outer

    def hessian_diagonal(self):
        return self._hessian.each(np.diagonal)

    def hessian_product(self, v):
        return total(scaled(self._hessian, v), 1, self.u)

    def outer_product_product(self, v):
        return total(scaled(self._outer, v), 1, self.u)

    def _second_of_outputs(self, rows, columns):
        """∂²y (N, K, rows, columns) in raw units; "x" and "θ" say by what."""
        at = {"x": slice(self.w - self.curved.start, self.w - self.curved.start + self.d), "θ": slice(0, self.w)}
        size = {"x": 1 / self.x_scale, "θ": np.ones(self.w)}
        part = self.hy[:, :, at[rows], at[columns]]
        return scaled(part, self.y_scale[:, None, None] * size[rows][:, None] * size[columns]).grown(4 * self.u)

    def input_hessian(self):
        return self._second_of_outputs("x", "x")

    def input_hessian_diagonal(self):
        return self.input_hessian().each(lambda part: np.einsum("nkii->nki", part))

    def laplacian(self):
        return total(self.input_hessian_diagonal(), 2, self.u)

    def input_hvp(self, V, U):
        each = scaled(self.input_hessian(), V[:, :, None, None] * U[:, None, None, :])
        return total(total(each, 3, self.u), 1, self.u)

    def second_order_product(self, V, U, v):
        """∂/∂x (N, D) and ∂/∂θ (W,), one after the other."""
        along, weighed = {"x": U[:, None, None, :], "θ": v}, V[:, :, None, None]
        parts = []
        for by in "xθ":
            terms = [total(scaled(self._second_of_outputs(by, of), weighed * along[of]), 3, self.u) for of in "xθ"]
            parts.append(total(terms[0] + terms[1], 1, self.u))
        whole = parts[0].each(np.ravel), total(parts[1], 0, self.u)
        return _joined(whole)

    def _mixed(self):
        part = self._weighted(self.hn[:, self.w :, : self.w])
        return scaled(part, 1 / self.x_scale[:, None]).grown(2 * self.u)

    def mixed_jvp(self, v):
        return total(scaled(self._mixed(), v), 2, self.u)

    def mixed_vjp(self, U):
        kept = self.s > 0
        return total(total(scaled(self._mixed()[kept], U[kept][:, :, None]), 1, self.u), 0, self.u)

    def unit_index(self, node):
        """For each unit of a node, the ascending positions in θ of its own free weights and bias."""
        out = []
        for k in range(self.units[node]):
            edges = [self.edge_at[source, node] for source in self.g.pred[node]]
            at = [places[rows == k] for rows, _, _, places in edges]
            if node in self.bias_at:
                at.append(self.bias_at[node][k : k + 1])
            index = np.unique(np.concatenate([np.empty(0, int), *at]))
            out.append(index[index >= 0])
        return out

    def delta(self, node):
        """(N, units): s ∂E_n/∂a_j; of an input ∂E_n/∂x."""
        before = self.inputs[: self.inputs.index(node)] if node in self.inputs else ()
        at = self.place.get(node, self.w + sum(self.units[i] for i in before))
        delta = self._weighted(self.gn[:, at : at + self.units[node]])
        return scaled(delta, 1 / self._affine([node])[1]).grown(2 * self.u) if node in self.inputs else delta

    def seen(self, node):
        """(a, z) (N, units) as a trace shows them: an input's a is raw x, an output's z is raw y."""
        a, z = (table[node].each(np.transpose) if node in table else None for table in (self.a, self.z))
        if node in self.inputs:
            first = sum(self.units[i] for i in self.inputs[: self.inputs.index(node)])
            x = self.raw[:, first : first + self.units[node]]
            a = Triple(x, np.abs(x), 0 * x)
        if node in self.outputs:
            first = sum(self.units[i] for i in self.outputs[: self.outputs.index(node)])
            z = self.y[:, first : first + self.units[node]]
        return a, z


def aggregated(kind, terms, curved, u):
    """(a, ∇a, its Hessian) of the terms (s, ∇s, its Hessian) of a node that takes its sources unit by unit."""
    if kind == "mean":
        return tuple(part if part is None else scaled(part, 1 / len(terms)) for part in _sums(terms))
    if kind == "product":
        whole = terms[0]
        for term in terms[1:]:
            whole = _multiplied(whole, term, curved, u)
        return whole
    values = np.stack([s.v for s, _, _ in terms])
    errors = np.stack([s.e for s, _, _ in terms])
    if kind == "median":
        return _middle(terms, values, errors)
    keys = {"max": values, "min": -values, "maxabs": np.abs(values)}[kind]
    chosen = keys.argmax(0)
    both = errors + np.take_along_axis(errors, chosen[None], 0)
    near = (keys.max(0) - keys <= both) & (both > 0) & (np.arange(len(terms))[:, None, None] != chosen)
    return _taken(terms, chosen, near.any(0), errors)


def _sums(terms):
    return [None if parts[0] is None else sum(parts[1:], start=parts[0]) for parts in zip(*terms, strict=True)]


def _multiplied(one, other, curved, u):
    """Of s t: ∇ = s ∇t + t ∇s, and s ∂²t + t ∂²s + ∇s ∇tᵀ + ∇t ∇sᵀ."""
    (a, ga, ha), (b, gb, hb) = one, other
    g = None if ga is None else times(a[..., None], gb, u) + times(b[..., None], ga, u)
    h = None
    if ha is not None:
        h = times(a[..., None, None], hb, u) + times(b[..., None, None], ha, u)
        for left, right in ((ga, gb), (gb, ga)):
            h += times(left[..., curved][..., None], right[..., curved][..., None, :], u)
    return times(a, b, u), g, h


def _middle(terms, values, errors):
    """The median: the mean of the middle two.  Whether others are as near to the middle only bounds can say."""
    order, n = np.argsort(values, axis=0, kind="stable"), len(terms)
    low, high = (n - 1) // 2, n // 2
    v, e = np.take_along_axis(values, order, 0), np.take_along_axis(errors, order, 0)
    near = np.zeros(v.shape[1:], bool)
    for at, beside in ((low, low - 1), (high, high + 1)):
        if 0 <= beside < n:
            near |= np.abs(v[at] - v[beside]) <= e[at] + e[beside]
    halves = [_taken(terms, order[at], near, errors) for at in (low, high)]
    return tuple(None if part is None else scaled(part, 0.5) for part in _sums(halves))


def _taken(terms, chosen, near, errors):
    """The terms `chosen` (k, N); where another is as `near` as rounding goes its derivative may be wanted."""
    found = []
    for parts in zip(*terms, strict=True):
        if parts[0] is None:
            found.append(None)
            continue
        at = chosen.reshape(1, *chosen.shape, *(1,) * (parts[0].v.ndim - 2))
        planes = ([getattr(part, name) for part in parts] for name in "vme")
        part = Triple(*(np.take_along_axis(np.stack(each), at, 0)[0] for each in planes))
        part.e[near] = part.e[near] + errors.max(0)[near] if part.v.ndim == 2 else _HUGE
        found.append(part)
    return tuple(found)


def _soft(t):
    """Where a target is neither 0 nor 1: y − t is then right to the rounding of y, which is no loss but in a corner."""
    return (t > 0) & (t < 1)


def _planes(part):
    return part.v, part.m, part.e


def _joined(parts):
    """Triples one after the other along their first axis."""
    return Triple(*(np.concatenate(planes) for planes in zip(*map(_planes, parts), strict=True)))


def _add(whole, at, part):
    whole.v[at] += part.v
    whole.m[at] += part.m
    whole.e[at] += part.e
