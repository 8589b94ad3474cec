"""Sweeps by matrix products: the products themselves, every network of the zoo forced through them, and their machine code."""

from __future__ import annotations

import os
import re
import tracemalloc

import networkx as nx
import numpy as np
import pytest

pytest.importorskip("numba", reason="the Numba backend is not installed")

import numba

import graphbp as gb
from graphbp.testing import relative_difference, tolerance, zoo
from graphbp_numba import executable
from graphbp_numba.instructions.matrix_products import DEPTH, REGISTER_ROWS, TILE_VECTORS, Matrix, multiply, transpose
from graphbp_numba.layers import blocks, path, work
from graphbp_numba.layers import products as layer_products
from graphbp_numba.machine.functions import VECTOR_BYTES

DTYPES = ["float64", "float32"]
WIDTHS = sorted({1, TILE_VECTORS})


@numba.njit
def product(tag, left, row_step, tile_step, right, out, start, count, more):
    multiply(
        tag,
        Matrix(left.ctypes.data, row_step, tile_step),
        right.ctypes.data,
        right.strides[0],
        Matrix(out.ctypes.data, out.strides[1], out.strides[0]),
        count,
        out.shape[1],
        out.shape[0],
        start.ctypes.data,
        more,
    )


@numba.njit
def transposed(tag, source, target):
    transpose(tag, source.ctypes.data, source.strides[0], *source.shape, target.ctypes.data, target.strides[0])


def tiled(matrix, lanes):
    """(rows, columns) as tiles (tiles, rows, lanes), whose last is filled up with NaN, which must reach no result."""
    rows, columns = matrix.shape
    tiles = np.full((-(-columns // lanes), rows, lanes), np.nan, matrix.dtype)
    for t, tile in enumerate(tiles):
        here = matrix[:, t * lanes : (t + 1) * lanes]
        tile[:, : here.shape[1]] = here
    return tiles


# -- products -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vectors", WIDTHS)
@pytest.mark.parametrize("tiles", [1, 3])
@pytest.mark.parametrize(
    ("rows", "count"), [(1, 1), (3, 5), (REGISTER_ROWS, 33), (2 * REGISTER_ROWS + 7, 40), (10, 16 * DEPTH + 9), (9, 1200)]
)
def test_products(rows, count, tiles, vectors, dtype):
    """Left operands as tiles and row by row with a gap, from start and on top; no lane past the last column counts."""
    tag = (np.dtype(dtype).type(0),) * vectors
    item = np.dtype(dtype).itemsize
    lanes = vectors * VECTOR_BYTES // item
    rng = np.random.default_rng(rows * count)
    w = rng.normal(size=(rows, count + 3)).astype(dtype)
    z = rng.normal(size=(tiles, count, lanes)).astype(dtype)
    start = rng.normal(size=rows).astype(dtype)
    expected = np.einsum("ji,til->tjl", w[:, :count].astype(float), z.astype(float)) + start[:, None]
    left = tiled(w[:, :count], lanes)
    allowed = tolerance("numba", dtype, "value").value
    found = []
    for operand, row_step, tile_step in ((left, lanes * item, left.strides[0]), (w, w.strides[0], lanes * item)):
        out = np.full((tiles, rows, lanes), np.nan, dtype)
        product(tag, operand, row_step, tile_step, z, out, start, count, 0)
        assert relative_difference(out, expected) <= allowed
        found.append(out.tobytes())
        product(tag, operand, row_step, tile_step, z, out, start, count, 1)
        assert relative_difference(out, 2 * expected - start[:, None]) <= allowed
    assert found[0] == found[1], "where the left operand stands changes no bit"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (5, 70), (70, 5), (16, 16), (33, 50), (32, 784)])
def test_transpositions(shape, dtype):
    source = np.arange(shape[0] * shape[1], dtype=dtype).reshape(shape)
    target = np.full((shape[1], shape[0] + 2), -1, dtype)
    transposed((source[0, 0],), source, target[:, : shape[0]])
    assert np.array_equal(target[:, : shape[0]], source.T)
    assert np.all(target[:, shape[0] :] == -1)


@pytest.mark.sampled(1)
@pytest.mark.skipif(os.uname().machine not in ("x86_64", "AMD64") if hasattr(os, "uname") else True, reason="reads x86-64 assembly")
@pytest.mark.parametrize(("dtype", "suffix"), [("float64", "pd"), ("float32", "ps")])
def test_the_inner_loop_keeps_its_sums_in_registers(dtype, suffix):
    """For the full block: one fused multiply–add for every vector of sums, a broadcast a row, no store, nothing on the stack."""
    fresh = numba.njit(error_model="numpy", nogil=True)(product.py_func)
    shape = np.zeros((1, 1, 1), dtype)
    tag = (shape.dtype.type(0),) * TILE_VECTORS
    fresh(tag, shape[0], 8, 8, np.zeros((0, 1, 1), dtype), np.zeros((0, 1, 1), dtype), shape[0, 0], 1, 0)
    loops, lines = [], [line.split("#")[0].strip() for line in next(iter(fresh.inspect_asm().values())).splitlines()]
    for i, line in enumerate(lines):
        if label := re.match(r"(\.?L[\w$.]+):", line):
            body = []
            for instruction in lines[i + 1 :]:
                if re.match(r"\.?L[\w$.]+:", instruction):
                    break
                body.append(instruction)
                if re.match(rf"j\w+\s+{re.escape(label.group(1))}$", instruction):
                    loops.append(body)
                    break
    fused = re.compile(rf"vfmadd\d+{suffix}\b.*%?[xyz]mm")
    counts = [sum(bool(fused.match(line)) for line in body) for body in loops]
    features = numba.core.codegen.get_host_cpu_features() if hasattr(numba.core.codegen, "get_host_cpu_features") else ""
    if not any(counts):
        pytest.skip(f"this machine has no fused multiply-add: {features[:60]}")
    registers = (
        TILE_VECTORS
        * VECTOR_BYTES
        // max(64 if "zmm" in line else 32 if "ymm" in line else 16 for line in lines if fused.match(line))
    )
    best = [body for body, n in zip(loops, counts, strict=True) if n and n % (REGISTER_ROWS * registers) == 0]
    assert best, f"no loop with {REGISTER_ROWS} × {registers} fused multiply-adds: {counts}"
    for line in best[0]:
        assert not re.search(r"\(%r[bs]p|\[r[bs]p", line), f"the stack inside the loop: {line}"
        assert not re.match(r"vmov\w+\s+%?[xyz]mm\d+,\s*[^%]*\(", line), f"a store inside the loop: {line}"


# -- sweeps -------------------------------------------------------------------------------------------------------------------------


def compare(net, X, T, s, V, name):
    """First order, and products with Hessians, of the layers' path beside the definition."""
    assert net.model.run.executable.layers is not None, "another path was taken"
    definition = net.to(backend="numpy")
    dtype = str(net.dtype)
    pairs = [("forward", net.forward(X), definition.forward(X), "value")]
    (e, g), (f, h) = net.error_and_gradient(X, T, s), definition.error_and_gradient(X, T, s)
    pairs += [("error", net.error(X, T, s), f, "value"), ("error", e, f, "value"), ("gradient", g, h, "first")]
    pairs += [("vjp", net.vjp(X, V), definition.vjp(X, V), "first")]
    directions = np.random.default_rng(7).normal(size=(net.n_parameters, 2)).astype(dtype)
    for product in ("hessian_operator", "outer_product_operator"):
        found, expected = (getattr(one, product)(X, T, s) @ directions for one in (net, definition))
        pairs.append((product, found, expected, "second"))
        pairs.append((f"{product}, one", getattr(net, product)(X, T, s) @ directions[:, 0], expected[:, 0], "second"))
    for quantity, found, expected, kind in pairs:
        assert relative_difference(found, expected) <= tolerance("numba", dtype, kind).value, f"{name} {quantity} {dtype}"


@pytest.fixture
def forced(monkeypatch):
    """Every network takes the layers' path."""
    monkeypatch.setattr(executable, "prefers_layers", lambda schedule: True)
    monkeypatch.setattr(executable, "worthwhile_pieces", lambda schedule, layered: None)


@pytest.mark.sampled(24)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [case for case in zoo() if not len(case.definition.schedule.combinations)], ids=str)
def test_the_zoo_forced_through_layers(case, dtype, forced):
    compare(case.network("numba", dtype), case.X, case.T, case.sample_weight, case.V, case.name)


def wiring(kind):
    """Layers of 37, 23, 70, 70 and 9 units: with shortcuts, sparse edges, frozen, tied or scattered weights."""
    rng = np.random.default_rng(5)
    g = nx.DiGraph()
    sizes = {"x": 37, "u": 6, "h": 23, "k": 70, "l": 70, "y": 9}
    functions = {"h": "softplus", "k": "tanh", "l": "sin", "y": "softmax"}
    for name, n in sizes.items():
        g.add_node(name, units=n)
        if name in functions:
            g.nodes[name].update(activation=functions[name], bias=rng.normal(size=n))

    def join(a, b, **attributes):
        shape = sizes[b], sizes[a]
        g.add_edge(a, b, weight=rng.normal(size=shape) / np.sqrt(shape[1]), **attributes)

    for a, b in (("x", "h"), ("h", "k"), ("k", "l"), ("l", "y")):
        join(a, b, **({"trainable": False} if kind == "frozen" and b == "k" else {}))
    join("u", "l")
    if kind == "frozen bias":
        g.nodes["k"]["trainable"] = False
    if kind == "shortcuts":
        for a, b in (("x", "k"), ("h", "l"), ("h", "y"), ("x", "y")):
            join(a, b)
    if kind == "tied":
        sizes["m"] = 70
        g.add_node("m", units=70, activation="tanh", bias=rng.normal(size=70))
        join("h", "m", tie="hk")
        g.edges["h", "k"]["tie"] = "hk"
        g.edges["h", "m"]["weight"] = g.edges["h", "k"]["weight"]
        join("m", "y")
    if kind == "sparse":
        import scipy.sparse

        for a, b in (("x", "k"), ("h", "l"), ("u", "y"), ("k", "y")):
            weight = scipy.sparse.random_array((sizes[b], sizes[a]), density=0.1, rng=rng, format="csr")
            g.add_edge(a, b, weight=weight)
    return g


def scattered():
    """Units whose common sources are every other unit of two earlier layers: blocks whose rows do not stand together."""
    rng = np.random.default_rng(6)
    g = nx.DiGraph()
    g.add_nodes_from((("x", i), {}) for i in range(40))
    for layer, sources in (
        ("h", [("x", i) for i in range(40)]),
        ("k", [("h", i) for i in range(0, 60, 2)] + [("x", i) for i in range(0, 40, 2)]),
    ):
        for j in range(60):
            g.add_node((layer, j), activation="tanh", bias=float(rng.normal()))
            g.add_weighted_edges_from((i, (layer, j), float(rng.normal() / 6)) for i in sources)
    for j in range(11):
        g.add_node(("y", j), bias=0.5)
        g.add_weighted_edges_from((("k", i), ("y", j), float(rng.normal() / 6)) for i in range(60))
        g.add_weighted_edges_from((("h", i), ("y", j), float(rng.normal() / 6)) for i in range(1, 60, 2) if j < 5)
    return g


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["plain", "shortcuts", "frozen", "frozen bias", "tied", "sparse", "scattered"])
def test_kinds_of_wiring_and_numbers_of_samples(kind, dtype, forced, monkeypatch):
    """Blocks that overlap, blocks in pieces; one sample, a tile, a tile and one, batches with a rest."""
    monkeypatch.setattr(blocks, "BATCH", 128)
    monkeypatch.setattr(work, "PANEL", 512)
    graph = scattered() if kind == "scattered" else wiring(kind)
    net = gb.Network(graph, backend="numba", dtype=dtype, error="sum_of_squares" if kind == "scattered" else "cross_entropy")
    d, k = net.schedule.n_inputs, net.schedule.n_outputs
    for n in (1, 16, 17, 32, 33, 300):
        rng = np.random.default_rng(n)
        X, V = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(n, k)).astype(dtype)
        T = V if kind == "scattered" else rng.dirichlet(np.ones(k), size=n).astype(dtype)
        compare(net, X, T, rng.random(n).astype(dtype), V, f"{kind} N = {n}")


PRODUCTS = ["hessian_operator", "outer_product_operator"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("error", "output"),
    [("poisson", "exp"), ("binary_cross_entropy", "sigmoid"), ("sum_of_squares", "softmax"), ("sum_of_squares", "sin")],
)
def test_heads_on_blocks_that_go_on(error, output, dtype, forced):
    """Outputs in the middle, which feed later blocks too, beside those at the end; targets that some samples' weights silence."""
    graph = wiring("shortcuts")
    graph.nodes["y"].update(activation=output, role="output")
    middle = {"poisson": "softplus", "binary_cross_entropy": "sigmoid"}.get(error, "tanh")
    graph.nodes["k"].update(activation=middle, role="output")
    net = gb.Network(graph, backend="numba", dtype=dtype, error=error)
    rng = np.random.default_rng(8)
    X, V = rng.normal(size=(37, net.schedule.n_inputs)).astype(dtype), rng.normal(size=(37, net.schedule.n_outputs)).astype(dtype)
    s = rng.random(37).astype(dtype)
    s[::3] = 0
    compare(net, X, rng.random(V.shape).astype(dtype), s, V, f"{error} {output}")


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("kind", ["shortcuts", "tied", "sparse", "scattered"])
def test_products_have_the_same_bits_for_any_threads_and_beside_other_directions(kind, product, forced, monkeypatch):
    monkeypatch.setattr(blocks, "BATCH", 128)
    monkeypatch.setattr(work, "PANEL", 512)
    net = gb.Network(scattered() if kind == "scattered" else wiring(kind), backend="numba")
    rng = np.random.default_rng(9)
    X, T = (rng.normal(size=(300, n)) for n in (net.schedule.n_inputs, net.schedule.n_outputs))
    directions = rng.normal(size=(net.n_parameters, 3))
    operator = getattr(net, product)(X, T)
    with gb.config(threads=1):
        expected = operator @ directions
    for threads in (2, 5):
        with gb.config(threads=threads):
            assert np.array_equal(operator @ directions, expected)
            assert np.array_equal(operator @ directions[:, 1], expected[:, 1])


@pytest.mark.parametrize("kind", ["shortcuts", "tied", "sparse", "scattered"])
def test_what_memory_held_before_reaches_no_result(kind, forced):
    net = gb.Network(scattered() if kind == "scattered" else wiring(kind), backend="numba")
    rng = np.random.default_rng(10)
    X, T = (rng.normal(size=(37, n)) for n in (net.schedule.n_inputs, net.schedule.n_outputs))
    v = rng.normal(size=(net.n_parameters, 2))

    def everything():
        return [net.forward(X), net.gradient(X, T), net.vjp(X, T), *(getattr(net, product)(X, T) @ v for product in PRODUCTS)]

    before = everything()
    kept = [array for _, arrays in net.model.run.executable.layers.work.pool for array in arrays]
    assert sum(array.size for array in kept) > net.n_parameters
    for array in kept:
        array[...] = np.nan
    for found, expected in zip(everything(), before, strict=True):
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("product", PRODUCTS)
def test_products_of_nothing(product, forced):
    """No samples, no directions, no free weight."""
    net = gb.Network(wiring("plain"), backend="numba", error="cross_entropy")
    X, T = np.ones((5, 43)), np.full((5, 9), 1 / 9)
    w = net.n_parameters
    multiply = getattr(net.model.run, product.replace("operator", "product"))
    assert np.array_equal(multiply(net.weights, X[:0], T[:0], None, np.ones((w, 2))), np.zeros((w, 2)))
    assert multiply(net.weights, X, T, None, np.ones((w, 0))).shape == (w, 0)
    frozen = wiring("plain")
    for _, _, attributes in frozen.edges(data=True):
        attributes["trainable"] = False
    for _, attributes in frozen.nodes(data=True):
        attributes["trainable"] = False
    net = gb.Network(frozen, backend="numba", error="cross_entropy")
    multiply = getattr(net.model.run, product.replace("operator", "product"))
    assert net.n_parameters == 0
    assert multiply(net.weights, X, T, None, np.ones((0, 2))).shape == (0, 2)


def test_memory_for_products_does_not_grow_with_the_samples(forced, monkeypatch):
    monkeypatch.setattr(blocks, "BATCH", 64)
    peaks = []
    for n in (128, 1024):
        net = gb.Network(wiring("sparse"), backend="numba")
        X, T = np.ones((n, 43)), np.ones((n, 9))
        operator, v = net.hessian_operator(X, T), np.ones(net.n_parameters)
        _ = operator @ v
        tracemalloc.start()
        net.model.run.executable.layers.work.pool.clear()
        _ = operator @ v
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < 1.2 * 64 * net.schedule.n_rows * 8 * 20, peaks


@pytest.mark.parametrize("sweep", ["gradient", *PRODUCTS])
def test_a_failing_task_is_raised_and_nobody_waits_for_it(sweep, forced, monkeypatch):
    """An exception in one chunk reaches the caller, also while other threads wait for that chunk."""
    net = gb.Network(wiring("plain"), backend="numba", error="cross_entropy")
    X, T = np.ones((300, 43)), np.full((300, 9), 1 / 9)
    v = np.ones((net.n_parameters, 2))
    module, name = (path.sweeps, "chunk_down") if sweep == "gradient" else (layer_products.tangents, "tangent_chunk")
    entry = getattr(module, name)

    def call():
        return net.gradient(X, T) if sweep == "gradient" else getattr(net, sweep)(X, T) @ v

    before = call()

    def fail(*arguments):
        if arguments[-2] == 0:
            raise MemoryError("planted")
        entry(*arguments)

    for threads in (1, 3):
        with gb.config(threads=threads), monkeypatch.context() as patch:
            patch.setattr(module, name, fail)
            with pytest.raises(MemoryError, match="planted"):
                call()
    assert np.array_equal(call(), before)
