"""Random DAGs of units and layers with outputs anywhere: early exits, second heads, dead ends, empty sparse weights, ties, frozen parts.

The definition is held to the oracles and to the complex step, the other backends to the definition, in every quantity.
"""

from __future__ import annotations

import os

import networkx as nx
import numpy as np
import pytest
from scipy import sparse

import graphbp as gb
from graphbp.registry import backend_names
from graphbp.testing import relative_difference
from graphbp.testing.oracles import evaluate, oracle_gradient, oracle_jacobian

SEEDS = range(int(os.environ.get("GRAPHBP_EXAMPLES", "60")))
KINDS = [
    "tanh",
    "arctan",
    "sigmoid",
    "silu",
    "softplus",
    "identity",
    "sin",
    "gaussian",
]  # nothing that grows: sin(exp(9)) is ill-conditioned


def drawn(seed: int) -> nx.DiGraph:
    """1 or 2 inputs, 2 to 8 nodes, of which 1 to 3 are outputs, softmax where they feed nothing."""
    rng = np.random.default_rng(seed)
    g, tied = nx.DiGraph(), {}
    layers, large = rng.random() < 0.5, rng.random() < 0.3

    def units():
        return int(rng.integers(1, 9 if large else 4)) if layers and rng.random() < 0.7 else 1

    for i in range(rng.integers(1, 3)):
        g.add_node(f"x{i}", units=units(), role="input")
    for j in range(rng.integers(2, 9)):
        before, many = list(g), units()
        g.add_node(f"h{j}", units=many, activation=str(rng.choice(KINDS)), role="hidden")
        if rng.random() < 0.7:
            g.nodes[f"h{j}"].update(bias=rng.normal(size=many) / 2, trainable=bool(rng.random() < 0.85))
        for source in before:
            if rng.random() < (0.7 if large else 0.5):
                weight = _weight(rng, (many, g.nodes[source]["units"]))
                more, fate = {}, rng.random()
                if fate < 0.15:
                    more["trainable"] = False
                elif fate < 0.4:
                    key = (
                        np.shape(weight),
                        *((weight.indptr.tobytes(), weight.indices.tobytes()) if sparse.issparse(weight) else ()),
                    )
                    weight, more["tie"] = tied.setdefault(key, (weight, str(len(tied))))
                g.add_edge(source, f"h{j}", weight=weight, **more)
    hidden = [node for node in g if node[0] == "h"]
    outputs = rng.choice(hidden, size=min(len(hidden), int(rng.integers(1, 4))), replace=False)
    for node in outputs:
        g.nodes[node]["role"] = "output"
    last = [node for node in outputs if not g.out_degree(node)]
    single = [node for node in last if g.nodes[node]["units"] == 1]
    if rng.random() < 0.4:
        for node in [node for node in last if node not in single] + (single if len(single) > 1 else []):
            g.nodes[node]["activation"] = "softmax"
    return g


def _weight(rng, shape):
    """A number, a matrix, or a sparse one, perhaps with empty rows or with no entry at all."""
    values = rng.normal(size=shape) / 2
    if shape == (1, 1):
        return float(values[0, 0])
    return values if rng.random() < 0.5 else sparse.csr_array((rng.random(shape) < rng.choice([0, 0.3, 0.6])) * values)


def problem(seed: int, backend: str = "numpy"):
    """(network, X, T, sample weights, some of them 0)."""
    net = gb.Network(drawn(seed), backend=backend)
    rng = np.random.default_rng([seed, 1])
    n = int(rng.choice([1, 2, 3, 7, 8, 9, 33]))
    X, T = rng.normal(size=(n, net.schedule.n_inputs)), rng.normal(size=(n, net.schedule.n_outputs))
    s = rng.uniform(0.5, 2, n) * (rng.random(n) < 0.7) if rng.random() < 0.5 else None
    return net, X, T, s


def quantities(net, X, T, s):
    """Everything that a network computes, by name."""
    rng = np.random.default_rng(7)
    V, U, v = rng.normal(size=T.shape), rng.normal(size=X.shape), rng.normal(size=(net.n_parameters, 2))
    yield "forward", net.forward(X)
    yield "error", net.error(X, T, s)
    yield "gradient", net.gradient(X, T, s)
    yield "one call", net.gradient(X[:1], T[:1])
    yield "per_sample_gradient", net.per_sample_gradient(X, T, s)
    yield "vjp", net.vjp(X, V)
    yield "jvp", net.jvp(X, U)
    yield "weight_vjp", net.weight_vjp(X, V)
    yield "weight_jvp", net.weight_jvp(X, v[:, 0])
    yield "jacobian", net.jacobian(X)
    yield "sparse jacobian", net.jacobian(X, sparse=True).toarray()
    yield "weight_jacobian", net.weight_jacobian(X)
    yield "hessian", net.hessian(X, T, s)
    yield "outer_product_hessian", net.outer_product_hessian(X, T, s)
    yield "hessian_diagonal", net.hessian_diagonal(X, T, s)
    yield "hessian_operator", net.hessian_operator(X, T, s) @ v
    yield "outer_product_operator", net.outer_product_operator(X, T, s) @ v
    for kind in ("exact", "outer_product"):
        for node, part in net.hessian_blocks(X, T, s, kind=kind).items():
            yield f"{kind} blocks of {node}", np.concatenate([part.index.ravel(), part.block.ravel()])
    trace = net.trace(X, T, s)
    for node in trace.a:
        yield f"trace of {node}", np.stack([trace.a[node], trace.z[node], trace.delta[node]])


@pytest.mark.sampled(20)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_definition(seed):
    net, X, T, s = problem(seed)
    assert relative_difference(net.forward(X), evaluate(net, net.weights, X)) < 1e-12
    assert relative_difference(net.gradient(X, T, s), oracle_gradient(net, X, T, s)) < 1e-11
    assert relative_difference(net.jacobian(X), oracle_jacobian(net, X)) < 1e-11
    report = net.check(X, T, s)
    assert report.ok, report


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("backend", [name for name in backend_names() if name != "numpy"])
def test_every_backend(backend, seed, usable):
    net, X, T, s = problem(seed, usable(backend))
    for (name, found), (_, expected) in zip(quantities(net, X, T, s), quantities(net.to("numpy"), X, T, s), strict=True):
        assert np.shape(found) == np.shape(expected), name
        assert relative_difference(found, expected) < 1e-10, name
