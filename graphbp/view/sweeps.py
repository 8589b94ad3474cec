"""What the two sweeps saw: a, z, δ of `net.trace`, and beside them h', β, what an aggregation hands back, and the error of each head.

β_i = Σ_j c_ji w_ji δ_j        c_ji = ∂agg_j/∂s_ji with s_ji = w_ji z_i: 1 for a sum
δ_i = h'_i β_i (+ the error's own term at an output)
∂E_n/∂w_ji = δ_j c_ji z_i
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
import numpy.typing as npt

from graphbp.aggregation import NAMES
from graphbp.heads import head_groups
from graphbp.lookup import shaped
from graphbp.mixture import error_at
from graphbp.network import Network
from graphbp.spec import INPUT

if TYPE_CHECKING:
    from graphbp.heads import HeadGroup

__all__ = ["Samples", "Sweeps", "engine_arrays", "entry_errors", "sweeps_of"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Samples:
    """The samples of the page: X (N, D), T (N, K) with NaN where missing, and weights, as the caller has them."""

    X: Array
    T: Array
    weight: Array | None


@dataclass(frozen=True)
class Sweeps:
    """Of every unit (U, N): a, z, delta, slope (NaN where there is none), beta; of the outputs (K, N): y, t, weight, own, error, and
    error_slope ∂e/∂y.

    y and t are the engine's, scaled where the network scales; `own` is the error's own term of δ; `error` is e_k, that of a softmax
    at its first output.  `passed` : node → (N, edges, units), c of the edges that lead into a node that is no sum.
    """

    a: Array
    z: Array
    delta: Array
    slope: Array
    beta: Array
    y: Array
    t: Array
    weight: Array
    own: Array
    error: Array
    error_slope: Array
    passed: dict[int, Array]
    heads: list[dict[str, Any]]


def sweeps_of(net: Network, samples: Samples) -> Sweeps:
    """Everything that a step of the page shows."""
    spec = net.model.spec
    trace = net.trace(samples.X, samples.T, samples.weight)
    a, z, delta = (
        np.concatenate([np.asarray(part[name], np.float64).reshape(len(samples.X), -1).T for name in spec.names])
        for part in (trace.a, trace.z, trace.delta)
    )
    first = np.concatenate([[0], np.cumsum(spec.units)])
    units = [slice(lo, hi) for lo, hi in pairwise(first.tolist())]
    slope = _slopes(net, a, units)
    weights = [shaped(spec, e, _entries(net, e)) for e in range(len(spec.edge_src))]
    passed = _passed(net, z, units, weights)
    beta = _beta(net, delta, units, weights, passed)
    y, t, weight, own, error, error_slope = _at_outputs(net, samples)
    return Sweeps(a, z, delta, slope, beta, y, t, weight, own, error, error_slope, passed, _heads(net))


def _entries(net: Network, e: int) -> Array:
    layout = net.model.layout
    start = int(layout.edge_start[e])
    return layout.fill(net.weights, slice(start, start + int(layout.edge_count[e])))


def _slopes(net: Network, a: Array, units: list[slice]) -> Array:
    spec = net.model.spec
    out = np.full_like(a, np.nan)
    with np.errstate(all="ignore"):
        for i, part in enumerate(units):
            row = spec.activations[spec.activation[i]]
            if spec.role[i] == INPUT:
                out[part] = 1
            elif row.elementwise:
                out[part] = row.evaluate(a[part].astype(net.dtype), 1)
    return out


# -- what a node hands back to its sources -----------------------------------------------------------------------------------------


@cache
def _aggregation(name: str, n: int) -> Network:
    """agg(s_1, ..., s_n) alone: the engine says what its derivatives are, at ties too."""
    graph: nx.DiGraph[Any] = nx.DiGraph()
    graph.add_nodes_from(range(n), role="input")
    graph.add_node("agg", aggregation=name)
    graph.add_edges_from(((i, "agg") for i in range(n)), weight=1.0, trainable=False)
    return Network(graph, backend="numpy", dtype="float64")


def _passed(net: Network, z: Array, units: list[slice], weights: list[Any]) -> dict[int, Array]:
    spec, found = net.model.spec, {}
    for j in np.flatnonzero(spec.aggregation).tolist():
        edges = np.flatnonzero(spec.edge_dst == j).tolist()
        terms = np.stack([np.asarray(weights[e]).reshape(-1, 1) * z[units[spec.edge_src[e]]] for e in edges])  # (edges, units, N)
        flat = terms.reshape(len(edges), -1).T
        out = np.full(flat.shape, np.nan)
        finite = np.isfinite(flat).all(axis=1)
        if finite.any():
            out[finite] = _aggregation(NAMES[spec.aggregation[j]], len(edges)).jacobian(flat[finite])[:, 0]
        found[j] = out.reshape(terms.shape[1], terms.shape[2], len(edges)).transpose(1, 2, 0)
    return found


def _beta(net: Network, delta: Array, units: list[slice], weights: list[Any], passed: dict[int, Array]) -> Array:
    spec = net.model.spec
    beta, place = np.zeros_like(delta), dict.fromkeys(passed, 0)
    with np.errstate(all="ignore"):
        for e, (i, j) in enumerate(zip(spec.edge_src.tolist(), spec.edge_dst.tolist(), strict=True)):
            back, w = delta[units[j]], weights[e]
            if j in passed:
                c = passed[j][:, place[j]].T
                place[j] += 1
                beta[units[i]] += np.where(back == 0, 0, c * np.asarray(w).reshape(-1, 1) * back)
            else:
                beta[units[i]] += w * back if isinstance(w, float) else w.T @ back
    return beta


# -- the error ---------------------------------------------------------------------------------------------------------------------


def engine_arrays(net: Network, samples: Samples) -> tuple[Array, Array, Array | None]:
    """(x, t, s) as the engine has them, in host memory; s None, (N,) or (N, K)."""
    x, t, s = net.model.batch(samples.X, samples.T, samples.weight)
    host = net.model.backend.to_numpy
    return host(x), host(t), None if s is None else host(s)


def entry_errors(heads: tuple[HeadGroup, ...], a: Array, y: Array, t: Array, s: Array | None) -> Array:
    """(K, N) weighted e of every output; that of a softmax stands at its first output, 0 at the others."""
    out = np.zeros(y.shape)
    weight = np.ones(y.shape) if s is None else np.broadcast_to(s, y.shape)
    for head in heads:
        p = head.positions
        if head.coupled:
            out[p[0]] = _weighed(head.value(a[p], y[p], t[p]), weight[p[0]])
        else:
            out[p] = _weighed(head.each(a[p], y[p], t[p]), weight[p])
    return out


def _weighed(value: Array, weight: Array) -> Array:
    """What weighs 0 adds nothing, whatever it has overflowed to."""
    return np.where(weight == 0, 0, value * weight)


def _at_outputs(net: Network, samples: Samples) -> tuple[Array, ...]:
    """(y, t, weight, own, error, error_slope), each (K, N)."""
    model, schedule = net.model, net.model.schedule.live
    x, t, s = engine_arrays(net, samples)
    device = [None if part is None else model.backend.asarray(part, model.dtype) for part in (x, t, s)]
    traced = model.run.trace(net.theta, *device)
    a, y = (model.backend.to_numpy(part)[schedule.output_rows] for part in (traced.a, traced.z))
    heads, t = head_groups(schedule, model.error), t.T
    weight = None if s is None else np.asarray(s.T, np.float64)
    own, slope = np.zeros(y.shape), np.full(y.shape, np.nan)
    with np.errstate(all="ignore"):
        for head in heads:
            p = head.positions
            own[p] = head.weigh(head.delta(a[p], y[p], t[p]), weight)
            slope[p] = head.error.dy(y[p], t[p])
        error = entry_errors(heads, a, y, t, weight)
    full = np.ones(y.shape) if weight is None else np.broadcast_to(weight, y.shape)
    return tuple(np.asarray(part, np.float64) for part in (y, t, full, own, error, slope))


def _heads(net: Network) -> list[dict[str, Any]]:
    """Each output, or softmax: its name, its outputs, its error and how δ comes of it."""
    model = net.model
    kinds: dict[int, str] = {}
    for head in head_groups(model.schedule.live, model.error):
        kind = "canonical" if head.canonical else "softmax" if head.coupled else "chain"
        kinds.update(dict.fromkeys(head.positions.tolist(), kind))
    found = []
    for entry in model.heads.entries:
        k = int(entry.positions[0])
        row = error_at(model.error, k)
        found.append(
            {
                "label": entry.name.strip("'"),
                "outputs": entry.positions.tolist(),
                "error": row.name,
                "formula": row.formula,
                "kind": kinds[k],
            }
        )
    return found
