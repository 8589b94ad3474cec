"""Networks and batches of every kind, drawn from a seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import networkx as nx
import numpy as np
from scipy import sparse

from .formulas import ACTIVATIONS, DOMAIN
from .paths import PATHS
from .reference import layout, roles

__all__ = ["Case", "draw", "kinds_of", "targets"]

NAMES = sorted(ACTIVATIONS)
UNIT_RANGE = ["gaussian", "neat.gauss", "neat.sigmoid", "wann.gaussian"]
POSITIVE = ["neat.exp", "neat.softplus", "softplus"]
HEADS = {
    "sum_of_squares": ["identity", "identity", "tanh", "softmax", *NAMES],
    "binary_cross_entropy": ["sigmoid", "sigmoid", "sigmoid", "softmax", *UNIT_RANGE],
    "cross_entropy": ["softmax", "softmax", "softmax", "sigmoid", "exp", "softplus", *UNIT_RANGE],
    "poisson": ["exp", "exp", "exp", "sigmoid", "softmax", *POSITIVE],
}
"""The output activations that an error's domain allows; canonical ones more often."""

AGGREGATIONS = ("product", "product", "product", "mean", "max", "max", "min", "median", "maxabs")
CHOICES = ("max", "min", "maxabs")

FEW = (1, 1, 2, 3, 4, 5, 7, 8, 9)
TILES = (15, 16, 17, 31, 32, 33, 63, 64, 65)
"""Sample counts around the borders of the Numba backend's vectors and tiles (8 or 16 lanes, 1, 2 or 4 vectors)."""
FAR = (127, 128, 129, 255, 256, 257)


@dataclass
class Case:
    """A network and a batch.

    dirty : another batch, which overflows, is run first with other weights, to soil what is reused.
    path : the way through the network that the Numba backend is made to take (`paths`).
    """

    graph: nx.DiGraph
    error: str
    dtype: str
    X: np.ndarray
    T: np.ndarray
    s: np.ndarray | None
    dirty: bool = False
    style: str = "plain"
    path: str = ""

    @property
    def usual(self):
        """The error of all outputs, or None where each says its own."""
        return None if any("error" in d for _, d in self.graph.nodes(data=True)) else self.error

    @property
    def given(self):
        """T as graphbp gets it: the names of the classes where the output names them."""
        names = [name for _, d in self.graph.nodes(data=True) for name in d.get("classes", ())]
        at = self.T[:, 0].astype(int) if self.T.shape[1] == 1 else self.T.argmax(1)
        return [names[i] for i in at] if names else self.T


def draw(seed) -> Case:
    """The case of a seed."""
    rng = np.random.default_rng(seed)
    style = str(rng.choice(["plain", "saturated", "scaled", "dense", "wide"], p=[0.54, 0.18, 0.18, 0.08, 0.02]))
    error = str(rng.choice(list(HEADS)))
    dtype = str(rng.choice(["float64", "float32"], p=[0.6, 0.4]))
    g = _network(rng, error, style)
    n = int(rng.choice(TILES) if rng.random() < 0.25 else rng.choice(FAR) if rng.random() < 0.02 else rng.choice(FEW))
    n = min(n, 17) if style == "dense" else n
    inputs, _ = roles(g)
    d = sum(g.nodes[node].get("units", 1) for node in inputs)
    X = rng.normal(size=(n, d))
    if style == "saturated":
        X *= rng.choice([1, 3, 10])
    if style == "scaled":
        X *= 10.0 ** rng.integers(-4, 5, d)
    if rng.random() < 0.1:
        X[:, rng.integers(d)] = 0
    if rng.random() < (0.7 if _unit_choices(g) else 0.05):  # ties
        X = np.round(X)
    s = None if rng.random() < 0.5 else rng.uniform(0.2, 2, n) * (rng.random(n) < 0.8)
    size = 10.0 ** rng.integers(-3, 4) if style == "scaled" else 1.0
    T = targets(rng, g, error, n, size)
    if rng.random() < 0.2:
        T = _heads(rng, g, error, T, size)
    dirty, path = bool(rng.random() < 0.1), str(rng.choice(list(PATHS), p=[0.5, 0.1, 0.1, 0.1, 0.1, 0.1]))
    if path and any("aggregation" in d for _, d in g.nodes(data=True)):
        path = "tiles"  # the others carry no such nodes
    if rng.random() < 0.15:
        X, T = _scaling(rng, g, error, X, T)
    if rng.random() < 0.5:
        _name_classes(g, error, T)
    return Case(g, error, dtype, X.astype(dtype), T.astype(dtype), s if s is None else s.astype(dtype), dirty, style, path)


def _heads(rng, g, error, T, size):
    """T after outputs were given errors and weights of their own, those of unit nodes of a softmax alike."""
    _, outputs = roles(g)
    soft, at, T = {}, 0, T.copy()
    for node in outputs:
        d, units = g.nodes[node], g.nodes[node].get("units", 1)
        kind = d.get("activation", "identity")
        able = [name for name, kinds in HEADS.items() if kind in kinds]
        said = {"error": str(rng.choice(able)), "error_weight": float(rng.uniform(0.1, 5))}
        said = soft.setdefault("softmax", said) if kind == "softmax" and units == 1 else said
        d.update(said)
        if said["error"] != error:
            T[:, at : at + units] = targets(np.random.default_rng(7), g, said["error"], len(T), size)[:, at : at + units]
        at += units
    return T


def _unit_choices(g):
    """Whether some node chooses among sources as they are."""
    choosing = {node for node, d in g.nodes(data=True) if d.get("aggregation") in CHOICES}
    return any(np.all(d["weight"] == 1) for _, v, d in g.edges(data=True) if v in choosing)


def _name_classes(g, error, T):
    """Names on the one output of a network whose targets are classes."""
    _, outputs = roles(g)
    wanted = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid"}.get(error)
    single = len(outputs) == 1 and "error" not in g.nodes[outputs[0]] and g.nodes[outputs[0]].get("activation") == wanted
    if single and (error == "cross_entropy" or T.shape[1] == 1) and np.isin(T, (0, 1)).all():
        g.nodes[outputs[0]]["classes"] = [f"class {k}" for k in range(max(T.shape[1], 2))]


def _scaling(rng, g, error, X, T):
    """(X, T) in units of their own, after `shift` and `scale` on some inputs, and on outputs that nothing follows."""
    inputs, outputs = roles(g)
    ends = [
        node not in inputs and not g.out_degree(node) and g.nodes[node].get("error", error) == "sum_of_squares" for node in outputs
    ]
    X, T = X.copy(), T.copy()
    for array, nodes, able in ((X, inputs, [True] * len(inputs)), (T, outputs, ends)):
        at = 0
        for node, may in zip(nodes, able, strict=True):
            d, units = g.nodes[node], g.nodes[node].get("units", 1)
            columns, at = slice(at, at + units), at + units
            if not may or rng.random() < 0.3:
                continue
            size = 10.0 ** rng.integers(-4, 5)
            for key, values in (("scale", size * rng.uniform(0.3, 3, units)), ("shift", size * rng.normal(size=units))):
                if rng.random() < 0.8:
                    d[key] = values if units > 1 and rng.random() < 0.6 else float(values[0])
            array[:, columns] = d.get("shift", 0.0) + d.get("scale", 1.0) * array[:, columns]
    return X, T


def _network(rng, error, style):
    g, layers = nx.DiGraph(), bool(rng.random() < 0.5)
    scale = {"plain": 0.8, "saturated": float(rng.choice([4, 12, 40])), "scaled": 0.8, "dense": 0.8, "wide": 0.3}[style]
    names = [str(k) for k in rng.choice(NAMES, int(rng.integers(1, 6)))]
    kinds = [str(k) for k in rng.choice(HEADS[error], int(rng.integers(1, 4)) if rng.random() < 0.3 else 1)]
    d, m, k = int(rng.integers(1, 4)), int(rng.integers(0, 8)), int(rng.integers(1, 4))
    named = rng.random(2) < 0.5  # whether inputs, and outputs, are named by role
    anywhere = rng.random() < 0.35
    frozen = rng.choice([0.0, 0.15, 0.5], p=[0.5, 0.4, 0.1])
    density, combining = rng.uniform(0.25, 1), 0.5 * (rng.random() < 0.3)
    for i in range(d):
        g.add_node(f"x{i}", **_size(rng, layers, 3), **({"role": "input"} if named[0] else {}))
    if style == "wide":
        _wide(rng, g, names)
    if style == "dense":
        _dense(rng, g, names, scale)
    for j in range(m):
        name = str(rng.choice(names))
        _add(rng, g, f"h{j}", name, _size(rng, layers, 3), density, scale, frozen, combining)
        if anywhere and rng.random() < 0.3 and name in HEADS[error]:
            g.nodes[f"h{j}"]["role"] = "output"
    for j in range(k):
        kind = kinds[j % len(kinds)]
        size = _size(rng, layers or kind == "softmax", 4)
        _add(rng, g, f"y{j}", kind, size, density, scale, frozen, combining)
        if rng.random() < 0.9 or j == 0:
            g.nodes[f"y{j}"]["role"] = "output"
    _mend_roles(rng, g, named[1])
    _mend_softmax(g)
    if rng.random() < 0.25:
        _tie(rng, g)
    if rng.random() < 0.3:  # graph order is not the order of the sweeps
        h = nx.DiGraph()
        h.add_nodes_from((node, g.nodes[node]) for node in rng.permutation(list(g)).tolist())
        edges = list(g.edges(data=True))
        h.add_edges_from(edges[i] for i in rng.permutation(len(edges)))
        g = h
    return _within(rng, g, {"wide": 14, "dense": 60}.get(style, 26))


def _size(rng, layers, most):
    units = int(rng.integers(2, most + 1)) if layers and rng.random() < 0.6 else 1
    return {"units": units} if units > 1 else {}


def _dense(rng, g, names, scale):
    """32 and more weights between the same sources and units: layer nodes, or unit by unit."""
    name = str(rng.choice([n for n in names if n not in DOMAIN] or ["sin"]))
    rows, columns = int(rng.integers(4, 8)), int(rng.integers(6, 9))
    if rng.random() < 0.5:
        g.add_node("c", activation=name, units=columns, role="hidden")
        sources = [source for source in g if source[0] == "x"]
        for source in sources:
            g.add_edge(source, "c", weight=_weight(rng, columns, g.nodes[source].get("units", 1), scale), trainable=False)
        g.add_node("d", activation=name, units=rows)
        g.add_edge("c", "d", weight=rng.normal(size=(rows, columns)) * scale / 3)
        return
    for k in range(columns):
        g.add_node(f"x{9 + k}", role="input") if g.nodes["x0"].get("role") else g.add_node(f"x{9 + k}")
    for j in range(rows):
        g.add_node(f"d{j}", activation=name, **({"bias": float(rng.normal())} if rng.random() < 0.7 else {}))
        for k in rng.permutation(columns):
            g.add_edge(f"x{9 + k}", f"d{j}", weight=float(rng.normal() * scale / 3))


def _wide(rng, g, names):
    """Two frozen layers large enough for the paths of large networks."""
    widths = [int(w) for w in rng.choice([16, 33, 64, 65], 2)]
    for i, width in enumerate(widths):
        sources = [s for s in g if s[0] == "x"] if i == 0 else ["b0"]
        name = str(rng.choice([n for n in names if n not in DOMAIN] or ["tanh"]))
        g.add_node(f"b{i}", units=width, activation=name)
        for source in sources:
            units = g.nodes[source].get("units", 1)
            g.add_edge(source, f"b{i}", weight=rng.normal(size=(width, units)) / np.sqrt(units), trainable=False)


def _add(rng, g, node, activation, size, density, scale, frozen, combining):
    earlier = [e for e in g if g.nodes[e].get("activation") != "softmax"]
    units = size.get("units", 1)
    g.add_node(node, activation=activation, **size)
    tame = activation in DOMAIN and rng.random() < 0.95
    if activation == "identity" and rng.random() < 0.5:
        del g.nodes[node]["activation"]
    if tame:
        g.nodes[node]["bias"] = float(rng.uniform(3, 6))
    elif rng.random() < 0.6:
        g.nodes[node]["bias"] = rng.normal(size=units) * scale if units > 1 and rng.random() < 0.5 else float(rng.normal() * scale)
    if "bias" in g.nodes[node] and rng.random() < frozen:
        g.nodes[node]["trainable"] = False
    sources = [e for e in earlier if rng.random() < density] or ([str(rng.choice(earlier))] if rng.random() < 0.95 else [])
    alike = [e for e in sources if g.nodes[e].get("units", 1) == units][-6:]
    combines = bool(alike) and rng.random() < combining
    if combines:
        _combine(rng, g, node, alike, units, 0.25 if tame else scale)
    for source in alike if combines else sources[-6:]:
        if not combines:
            g.add_edge(source, node, weight=_weight(rng, units, g.nodes[source].get("units", 1), 0.25 if tame else scale))
        if rng.random() < frozen or (source[0] == "b" and rng.random() < 0.8):
            g.edges[source, node]["trainable"] = False
    if not sources:
        g.nodes[node].setdefault("role", "hidden")


def _combine(rng, g, node, sources, units, scale):
    """A node that takes its sources unit by unit, as they are or weighed."""
    kind = g.nodes[node]["aggregation"] = str(rng.choice(AGGREGATIONS))
    plain = rng.random() < (0.7 if kind in CHOICES else 0.3)
    for source in sources:
        shape = (units,) if units > 1 and rng.random() < 0.5 else ()
        weight = np.ones(shape) if plain else rng.normal(size=shape) * scale
        g.add_edge(source, node, weight=weight if shape else float(weight))


def _weight(rng, rows, columns, scale):
    if rows == columns == 1 and rng.random() < 0.9:
        return float(rng.normal() * scale)
    array = rng.normal(size=(rows, columns)) * scale / np.sqrt(columns)
    if rng.random() < 0.3:
        return sparse.csr_array(array * (rng.random(array.shape) < rng.choice([0.0, 0.4, 0.8])))
    return array


def _mend_roles(rng, g, named):
    """Either every output is named, or those that are not sinks are; softmax is an output always, and hidden sinks may stay dead."""
    for _, d in g.nodes(data=True):
        if d.get("activation") == "softmax":
            d["role"] = "output"
    if not named and rng.random() < 0.5:
        sinks = [node for node in g if not g.out_degree(node) and node[0] != "x" and g.in_degree(node)]
        constant = any(d.get("role") == "output" and not g.in_degree(node) for node, d in g.nodes(data=True))  # stays named
        if sinks and not constant and {g.nodes[node].get("activation", "identity") for node in sinks} <= _fitting(g):
            for node in g:
                if node[0] != "x" and g.in_degree(node) and (node in sinks or g.nodes[node].get("role") != "hidden"):
                    g.nodes[node].pop("role", None)


def _fitting(g):
    """Activations that named outputs have: sinks with one of these may be outputs by default."""
    return {d.get("activation", "identity") for _, d in g.nodes(data=True) if d.get("role") == "output"}


def _mend_softmax(g):
    """No unit is a softmax alone."""
    alone = [n for n, d in g.nodes(data=True) if d.get("activation") == "softmax" and d.get("units", 1) == 1]
    if len(alone) == 1:
        g.nodes[alone[0]]["activation"] = "sigmoid"


def _tie(rng, g):
    """Some weights of equal shape, or biases, shared; sparse ones with the pattern copied."""
    slots = [("edge", e) for e in g.edges] + [("node", n) for n in g if "bias" in g.nodes[n]]
    if not slots:
        return
    for number in range(int(rng.integers(1, 3))):
        first = slots[int(rng.integers(len(slots)))]
        d0, key0 = _slot(g, first)
        alike = [slot for slot in slots if slot != first and _alike(d0[key0], *_value(g, slot), first, slot, g)]
        if not alike or "tie" in d0:
            continue
        for i in rng.permutation(len(alike))[: int(rng.integers(1, 4))]:
            d, key = _slot(g, alike[i])
            if "tie" in d or d.get("trainable", True) != d0.get("trainable", True):
                continue
            d[key] = d0[key].copy() if hasattr(d0[key], "copy") else d0[key]
            d["tie"] = d0["tie"] = f"t{number}"


def _slot(g, slot):
    return (g.edges[slot[1]], "weight") if slot[0] == "edge" else (g.nodes[slot[1]], "bias")


def _value(g, slot):
    d, key = _slot(g, slot)
    return (d[key],)


def _alike(a, b, first, second, g):
    if first[0] != second[0]:
        return False
    if first[0] == "node":
        return np.shape(a) == np.shape(b) and g.nodes[first[1]].get("units", 1) == g.nodes[second[1]].get("units", 1)
    return type(a) is type(b) and np.shape(a) == np.shape(b)


def _within(rng, g, most):
    """At most so many free parameters: edges, and then biases, are frozen until they are few."""
    left, slots = layout(g)[0], [*g.edges, *(node for node in g if "bias" in g.nodes[node])]
    for i in rng.permutation(len(slots)):
        if left <= most:
            break
        edge = isinstance(slots[i], tuple)
        d = g.edges[slots[i]] if edge else g.nodes[slots[i]]
        if d.get("trainable", True) and "tie" not in d:
            d["trainable"] = False
            weight = d["weight"] if edge else np.ones(d.get("units", 1))
            left -= weight.nnz if hasattr(weight, "tocsr") else np.size(weight)
    return g


def targets(rng, g, error, n, scale=1.0):
    """T (n, K) for an error: real, 0 or 1 or between, distributions over each softmax, counts."""
    _, outputs = roles(g)
    width = {node: g.nodes[node].get("units", 1) for node in outputs}
    k = sum(width.values())
    if error == "sum_of_squares":
        return rng.normal(size=(n, k)) * scale
    if error == "poisson":
        return rng.poisson(2.0, (n, k)).astype(float)
    hard = rng.random() < 0.6
    T = (rng.random((n, k)) < 0.5).astype(float) if hard else rng.uniform(0.05, 0.95, (n, k))
    if error == "cross_entropy":
        at, groups, singles = 0, [], []
        for node in outputs:
            if g.nodes[node].get("activation") == "softmax":
                (singles if width[node] == 1 else groups).append(np.arange(at, at + width[node]))
            at += width[node]
        if singles:
            groups.append(np.concatenate(singles))
        for group in groups:
            T[:, group] = (
                np.eye(len(group))[rng.integers(len(group), size=n)] if hard else rng.dirichlet(np.full(len(group), 3.0), n)
            )
    return T


def kinds_of(case) -> Counter:
    """What a case has, for the summary."""
    g, found = case.graph, Counter()
    found[f"style {case.style}"] += 1
    found[f"error {case.error}"] += 1
    found[case.dtype] += 1
    found[f"N {len(case.X)}"] += 1
    _, outputs = roles(g)
    live = set(outputs).union(*(nx.ancestors(g, o) for o in outputs))
    for node, d in g.nodes(data=True):
        found[f"activation {d.get('activation', 'identity')}"] += 1
        found[f"aggregation {d.get('aggregation', 'sum')}"] += 1
        found["layer nodes" if d.get("units", 1) > 1 else "unit nodes"] += 1
        found["dead nodes"] += node not in live
        found["scaled nodes"] += "shift" in d or "scale" in d
        found["named classes"] += "classes" in d
        found["constant nodes"] += d.get("role") == "hidden" and not g.in_degree(node)
    for node in outputs:
        found["outputs with errors of their own"] += "error" in g.nodes[node]
        found[f"head {g.nodes[node].get('error', case.error)} / {g.nodes[node].get('activation', 'identity')}"] += 1
        found["outputs that feed others"] += g.out_degree(node) > 0
    for _, _, d in g.edges(data=True):
        found["sparse weights"] += hasattr(d["weight"], "tocsr")
        found["frozen weights"] += not d.get("trainable", True)
        found["tied weights"] += "tie" in d
    found["batches with sample weights"] += case.s is not None
    found["batches with sample weights of 0"] += case.s is not None and bool((case.s == 0).any())
    found["soiled buffers"] += case.dirty
    found[f"path {case.path or 'chosen'}"] += 1
    return found
