"""Make a case that shows a fault as small as it goes, and print it as a program.

Every step proposes simpler cases in turn (fewer samples, nodes, edges, units; no bias, tie, frozen weight; plainer activations and
rounder numbers); the first that still shows the same fault, the same quantity of the same backend wrong in the same way, is taken, until
none does.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Iterator

import numpy as np
from scipy import sparse

from .compare import examine
from .reference import roles

__all__ = ["program", "shrink"]


def shrink(case, finding, seconds=20.0):
    """(smaller case, its finding) with the same backend, quantity and kind."""
    stop = time.monotonic() + seconds

    def shows(candidate):
        try:
            found = examine(candidate, [finding.backend], [finding.quantity] if finding.quantity != "network" else [])
        except Exception:  # what the reference cannot take is no smaller case
            return None
        same = [f for f in found if (f.quantity, f.kind) == (finding.quantity, finding.kind)]
        if "Error" in finding.kind:  # and the same message, whatever names it has
            same = [f for f in same if _words(f.detail) == _words(finding.detail)]
        return same[0] if same else None

    progress = True
    while progress and time.monotonic() < stop:
        progress = False
        for propose in (_samples, _flags, _nodes, _edges, _units, _plain, _weights, _data):
            again = True
            while again and time.monotonic() < stop:
                again = False
                for candidate in propose(case):
                    if time.monotonic() > stop:
                        break
                    if better := shows(candidate):
                        case, finding, again, progress = candidate, better, True, True
                        break
    return case, finding


def _words(message):
    """A message without what it quotes, its numbers and shapes."""
    return re.sub(r"'[^']*'|[\d(),. ]+", " ", message)


def _with(case, graph=None, **changes):
    """The case with another graph, X and T keeping the columns of the nodes that stay inputs and outputs."""
    if graph is None:
        return dataclasses.replace(case, **changes)
    for array, side in (("X", 0), ("T", 1)):
        before, after = (_columns(g, roles(g)[side]) for g in (case.graph, graph))
        old = getattr(case, array)
        new = np.zeros((len(old), len(after)), old.dtype)
        for j, column in enumerate(after):
            if column in before:
                new[:, j] = old[:, before.index(column)]
        changes[array] = new
    return dataclasses.replace(case, graph=graph, **changes)


def _columns(g, nodes):
    return [(node, k) for node in nodes for k in range(g.nodes[node].get("units", 1))]


def _samples(case) -> Iterator:
    n = len(case.X)
    for keep in (
        *([i] for i in range(min(n, 40)) if n > 1),
        *(np.delete(np.arange(n), slice(i, i + max(n // 4, 1))) for i in range(0, n, max(n // 4, 1))),
    ):
        if 0 < len(keep) < n:
            yield _with(case, X=case.X[keep], T=case.T[keep], s=None if case.s is None else case.s[keep])


def _flags(case) -> Iterator:
    if case.s is not None:
        yield _with(case, s=None)
    if case.dirty:
        yield _with(case, dirty=False)
    if case.path:
        yield _with(case, path="")
    if case.dtype == "float32":
        yield _with(case, dtype="float64", **{k: getattr(case, k).astype("float64") for k in "XT"},
                    s=None if case.s is None else case.s.astype("float64"))  # fmt: skip
    inputs, outputs = roles(case.graph)
    if any("role" not in d for _, d in case.graph.nodes(data=True)):
        g = case.graph.copy()
        for node in g:
            g.nodes[node]["role"] = "input" if node in inputs else "output" if node in outputs else "hidden"
        yield _with(case, g)


def _nodes(case) -> Iterator:
    for node in reversed(list(case.graph)):
        g = case.graph.copy()
        g.remove_node(node)
        if all(roles(g)):
            yield _with(case, g)
    for node in case.graph:  # an output no more
        if case.graph.nodes[node].get("role") == "output":
            g = case.graph.copy()
            g.nodes[node]["role"] = "hidden"
            yield _with(case, g)


def _edges(case) -> Iterator:
    for edge in reversed(list(case.graph.edges)):
        g = case.graph.copy()
        g.remove_edge(*edge)
        yield _with(case, g)


def _units(case) -> Iterator:
    for node, d in case.graph.nodes(data=True):
        for k in range(d.get("units", 1) if d.get("units", 1) > 1 else 0):
            if any("aggregation" in case.graph.nodes[other] for other in [node, *case.graph.succ[node]]):
                continue  # all that it takes have as many units
            g = case.graph.copy()
            new = g.nodes[node]
            new["units"] -= 1
            if np.ndim(new.get("bias", 0.0)) == 1:
                new["bias"] = np.delete(new["bias"], k)
            for u, v in [*g.in_edges(node), *g.out_edges(node)]:
                g.edges[u, v]["weight"] = _without(g.edges[u, v]["weight"], k, 0 if v == node else 1)
            if new["units"] == 1:
                del new["units"]
            candidate = _with(case, g)
            for array, side in (("X", 0), ("T", 1)):
                columns = _columns(case.graph, roles(case.graph)[side])
                if (node, k) in columns:
                    setattr(candidate, array, np.delete(getattr(case, array), columns.index((node, k)), 1))
            yield candidate


def _without(weight, k, axis):
    """The weight without a row or column, sparse where it was."""
    array = np.delete(weight.toarray() if hasattr(weight, "tocsr") else np.atleast_2d(np.asarray(weight)), k, axis)
    return sparse.csr_array(array) if hasattr(weight, "tocsr") else array


def _plain(case) -> Iterator:
    for kind, key in [*(("nodes", n) for n in case.graph), *(("edges", e) for e in case.graph.edges)]:
        d = getattr(case.graph, kind)[key]
        for name in ("tie", "trainable", "bias", "activation", "aggregation", "shift", "scale", "classes", "error", "error_weight"):
            if name in d and (name != "trainable" or d[name] is False):
                g = case.graph.copy()
                del getattr(g, kind)[key][name]
                if name == "bias":
                    getattr(g, kind)[key].pop("trainable", None)
                yield _with(case, g)
        if d.get("activation", "tanh") not in ("tanh", "identity", "softmax", "sigmoid"):
            g = case.graph.copy()
            g.nodes[key]["activation"] = "tanh"
            yield _with(case, g)


def _weights(case) -> Iterator:
    tied = {}
    for kind, key in [*(("edges", e) for e in case.graph.edges), *(("nodes", n) for n in case.graph)]:
        name = "weight" if kind == "edges" else "bias"
        d = getattr(case.graph, kind)[key]
        if name not in d:
            continue
        tied.setdefault(d.get("tie", (kind, key)), []).append((kind, key, name))
    for group in tied.values():
        kind, key, name = group[0]
        old = getattr(case.graph, kind)[key][name]
        for new in _simpler(old):
            g = case.graph.copy()
            for other, at, which in group:
                getattr(g, other)[at][which] = new
            yield _with(case, g)


def _simpler(value):
    if hasattr(value, "tocsr"):
        if value.nnz:
            yield value.toarray()
        return
    array = np.asarray(value)
    if array.shape == (1, 1):
        yield float(array[0, 0])
    if array.shape == (1,):
        yield float(array[0])
    sign = np.where(array < 0, -1.0, 1.0)
    size = 10.0 ** np.floor(np.log10(np.maximum(np.abs(array), 1e-300)))
    for new in (sign, sign * size, _rounded(array, 1), _rounded(array, 2)):
        if _length(new) < _length(array):
            yield new if array.ndim else float(new)


def _length(array):
    return sum(len(repr(float(v))) for v in np.ravel(array))


def _rounded(array, digits):
    return np.vectorize(lambda v: float(f"{v:.{digits}g}"), otypes=[float])(array) if array.size else array


def _data(case) -> Iterator:
    for name in ("X", "T", "s"):
        array = getattr(case, name)
        if array is None:
            continue
        for at in np.ndindex(array.shape):
            for new in (0.0, 1.0, -1.0, float(f"{array[at]:.1g}"), float(f"{array[at]:.2g}"), float(f"{array[at]:.3g}")):
                if len(repr(new)) < len(repr(float(array[at]))) or (new == 0 and array[at] != 0):
                    other = array.copy()
                    other[at] = new
                    yield _with(case, **{name: other})


WITHOUT_TARGETS = ("forward", "jacobian", "weight_jacobian", "input_hessian", "input_hessian_diagonal", "laplacian")
CALLS = {
    "error_and_gradient": "net.error_and_gradient(*batch)[0]",
    "jacobian_sparse": "net.jacobian(X, sparse=True).toarray()",
    "vjp": "net.vjp(X, V)",
    "jvp": "net.jvp(X, U)",
    "weight_vjp": "net.weight_vjp(X, V)",
    "weight_jvp": "net.weight_jvp(X, v)",
    "hessian_operator": "net.hessian_operator(*batch) @ v",
    "outer_product_operator": "net.outer_product_operator(*batch) @ v",
    "hessian_blocks": "net.hessian_blocks(*batch)",
    "outer_product_blocks": 'net.hessian_blocks(*batch, kind="outer_product")',
    "network": "net",
    "input_hvp": "net.input_hvp(X, V, U)",
    "second_order_product": "net.second_order_product(X, V, U, v)",
    "mixed_jvp": "net.mixed_jvp(*batch[:2], v, *batch[2:])",
    "mixed_vjp": "net.mixed_vjp(*batch[:2], U, *batch[2:])",
    **{name: f"net.{name}(X)" for name in WITHOUT_TARGETS},
}


def program(case, finding) -> str:
    """The case as a program that shows the fault."""
    lines = ["import networkx as nx, numpy as np, graphbp as gb", "from scipy import sparse", "g = nx.DiGraph()"]
    lines += [f"g.add_node({node!r}{_attributes(d)})" for node, d in case.graph.nodes(data=True)]
    lines += [f"g.add_edge({u!r}, {v!r}{_attributes(d)})" for u, v, d in case.graph.edges(data=True)]
    lines += [f"{name} = {_text(value, case.dtype)}" for name, value in (("X", case.X), ("T", case.given))]
    lines.append("batch = X, T" + ("" if case.s is None else f", {_text(case.s, case.dtype)}"))
    if case.path and finding.backend == "numba":
        lines.append("# the thresholds of `tests.campaign.paths` are needed:")
        lines.append(f"from tests.campaign.paths import forced; path = forced('numba', {case.path!r}); path.__enter__()")
    lines.append(f"net = gb.Network(g, error={case.usual!r}, backend={finding.backend!r}, dtype={case.dtype!r})")
    if case.dirty:
        lines.append("net.gradient(np.full_like(X, 1e30 if X.itemsize == 4 else 1e300), T)  # overflows, and soils what is kept")
    call = CALLS.get(finding.quantity, f"net.{finding.quantity}(*batch)")
    if any(f", {letter}," in call or f", {letter})" in call or call.endswith(f"@ {letter}") for letter in "VUv"):
        lines.append("rng = np.random.default_rng(5)")
        lines.append("V, U, v = (rng.normal(size=k).astype(X.dtype) for k in ((len(X), T.shape[1]), X.shape, net.n_parameters))")
    lines.append(f"print({call})  # {finding.kind}: {finding.detail}")
    return "\n".join(lines)


def _attributes(d):
    return "".join(f", {k}={_text(v)}" for k, v in d.items())


def _text(value, dtype=None):
    if hasattr(value, "tocsr"):
        return f"sparse.csr_array({value.toarray().tolist()!r})"
    if isinstance(value, np.ndarray):
        return f"np.array({value.tolist()!r}" + (f", {dtype!r})" if dtype else ")") if value.size else f"np.zeros({value.shape})"
    return repr(value)
