"""What must hold of this backend as a program: vector instructions, no recompilation, the same bits, caches, processes, threads."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

pytest.importorskip("numba", reason="the Numba backend is not installed")

import graphbp as gb
from graphbp_numba.first_order import runs
from graphbp_numba.machine import jit


def dag(n_inputs=5, n_hidden=120, n_outputs=3, fan_in=7, seed=0, activation="tanh"):
    rng = np.random.default_rng(seed)
    g = nx.DiGraph()
    g.add_nodes_from(range(n_inputs), role="input")
    for j in range(n_inputs, n_inputs + n_hidden + n_outputs):
        last = j >= n_inputs + n_hidden
        g.add_node(
            j, activation="identity" if last else activation, bias=float(rng.normal()), **({"role": "output"} if last else {})
        )
        sources = rng.choice(min(j, n_inputs + n_hidden), size=min(fan_in, j), replace=False)
        g.add_weighted_edges_from((int(i), j, float(rng.normal() / np.sqrt(fan_in))) for i in sources)
    for i in range(n_inputs + n_hidden):
        if not g.out_degree(i):
            g.add_edge(i, n_inputs + n_hidden, weight=0.1)
    return g


def batch(net, n_samples, seed=1):
    rng = np.random.default_rng(seed)
    dtype = net.dtype
    return rng.normal(size=(n_samples, 5)).astype(dtype), rng.normal(size=(n_samples, 3)).astype(dtype)


# -- machine code -------------------------------------------------------------------------------------------------------------------


def hot_loops(text):
    """The bodies of the innermost loops (a label, no other label, a jump back to it), as lists of instructions."""
    loops = []
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    for i, line in enumerate(lines):
        label = re.match(r"(\.?L[\w$.]+):", line)
        if not label:
            continue
        for k in range(i + 1, min(i + 200, len(lines))):
            if re.match(r"\.?L[\w$.]+:", lines[k]):
                break
            if re.match(rf"j\w+\s+{re.escape(label.group(1))}$", lines[k]):
                loops.append(lines[i + 1 : k])
                break
    return loops


def assembly(made):
    """The machine code of a C function, compiled anew, as code from a cache has no listing."""
    import numba

    fresh = numba.njit(error_model="numpy")(made.__wrapped__)
    fresh.compile(made._sig.args)
    return next(iter(fresh.inspect_asm().values()))


@pytest.mark.sampled(1)
@pytest.mark.skipif(os.uname().machine not in ("x86_64", "AMD64") if hasattr(os, "uname") else True, reason="reads x86-64 assembly")
@pytest.mark.parametrize(("dtype", "suffix"), [("float64", "pd"), ("float32", "ps")])
def test_hot_loops_are_vectors_with_sums_in_registers(dtype, suffix):
    """Along a row's edges: fused multiply–adds of whole vectors, nothing scalar but the weight, no store of the sums."""
    listing = assembly(runs._forward_runs(dtype, 4))
    fused = re.compile(rf"vfn?m(add|sub)\d*{suffix}\b.*%?[yz]mm")
    loops = [loop for loop in hot_loops(listing) if sum(bool(fused.match(line)) for line in loop) >= 4]
    assert loops, "no loop with four vector fused multiply-adds: the gather along a row's edges is not vectorised"
    clean = [
        loop
        for loop in loops
        if not any(re.match(r"v(add|mul|fmadd\d*)s[sd]\b", line) for line in loop)
        and not any(re.match(r"vmov\w*\s+%[xyz]mm\d+,\s*-?\w*\(%r?[bs]p", line) for line in loop)
        and not any(re.match(r"call", line) for line in loop)
    ]
    assert clean, "the sums leave their registers inside the loop:\n" + "\n".join(loops[0])


# -- one kernel for all topologies ----------------------------------------------------------------------------------------------------


def test_new_topology_compiles_nothing():
    def use(graph):
        net = gb.Network(graph, backend="numba")
        X, T = batch(net, 100)
        net.forward(X), net.error_and_gradient(X, T), net.jacobian(X[:9]), net.forward(X[:1]), net.gradient(X[:3], T[:3])

    use(dag(seed=1))
    before = jit.compile_events()
    for seed in range(2, 6):
        use(dag(n_hidden=40 * seed, fan_in=seed + 1, seed=seed))
    graph = dag(seed=1)
    graph.remove_edge(*next(iter(graph.in_edges(60))))
    use(graph)
    assert jit.compile_events() == before > 0


def test_a_new_dtype_is_counted():
    """The counter above can move: an activation not used so far is one more function."""
    net = gb.Network(dag(activation="softsign"), backend="numba")
    net.forward(batch(net, 3)[0])
    before = jit.compile_events()

    bounded = (
        lambda a: a / (1 + a * a),
        lambda a: (1 - a * a) / (1 + a * a) ** 2,
        lambda a: 2 * a * (a * a - 3) / (1 + a * a) ** 3,
    )
    gb.register_activation("numba_test_bounded", *bounded)
    net = gb.Network(dag(activation="numba_test_bounded"), backend="numba")
    net.forward(batch(net, 3)[0])
    assert jit.compile_events() > before


# -- registered functions ---------------------------------------------------------------------------------------------------------------


def _swish(a):
    return a / (1 + np.exp(-a))


def _swish_d(a):
    s = 1 / (1 + np.exp(-a))
    return s + _swish(a) * (1 - s)


def _swish_d2(a):
    s = 1 / (1 + np.exp(-a))
    return s * (1 - s) * (2 + a * (1 - 2 * s))


def test_registered_functions_match_numpy():
    """Functions that call functions, `np.where` with mixed types, and an error function."""
    gb.register_activation("numba_test_swish", _swish, _swish_d, _swish_d2)
    gb.register_activation(
        "numba_test_clip",
        lambda a: np.where(a > 1, 1, np.where(a < 0, 0, a)),
        lambda a: np.where((a > 0) & (a < 1), 1, 0) + 0 * a,
        lambda a: 0 * a,
        kinks=(0.0, 1.0),
    )
    gb.register_error_function(
        "numba_test_quartic", lambda y, t: (y - t) ** 4 / 4, lambda y, t: (y - t) ** 3, lambda y, t: 3 * (y - t) ** 2
    )
    g = dag(activation="numba_test_swish")
    for i in range(30, 60):
        g.nodes[i]["activation"] = "numba_test_clip"
    for dtype, tolerance in (("float64", 1e-12), ("float32", 1e-4)):
        net = gb.Network(g, backend="numba", dtype=dtype, error="numba_test_quartic")
        definition = net.to(backend="numpy")
        X, T = batch(net, 50)
        for one, other in ((net.forward(X), definition.forward(X)), (net.gradient(X, T), definition.gradient(X, T))):
            assert np.max(np.abs(one - other)) <= tolerance * np.max(np.abs(other))


def test_a_function_numba_cannot_compile_is_refused_by_name():
    import scipy.special

    gb.register_activation(
        "numba_test_erf",
        lambda a: scipy.special.erf(a),
        lambda a: 2 / np.sqrt(np.pi) * np.exp(-a * a),
        lambda a: -4 * a / np.sqrt(np.pi) * np.exp(-a * a),
    )
    with pytest.raises(gb.NotSupportedError, match="numba_test_erf"):
        gb.Network(dag(activation="numba_test_erf"), backend="numba")


# -- the same bits ----------------------------------------------------------------------------------------------------------------------


def layered():
    g = nx.DiGraph()
    rng = np.random.default_rng(0)
    g.add_node("x", units=5)
    g.add_node("h", units=128, activation="tanh", bias=rng.normal(size=128))
    g.add_node("k", units=128, activation="relu", bias=rng.normal(size=128))
    g.add_node("y", units=3, bias=rng.normal(size=3))
    for a, b, m, n in (("x", "h", 128, 5), ("h", "k", 128, 128), ("k", "y", 3, 128)):
        g.add_edge(a, b, weight=rng.normal(size=(m, n)) / np.sqrt(n))
    return g


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("graph", [dag, layered], ids=["tiles", "layers"])
@pytest.mark.parametrize("n_samples", [1, 33, 1500])
def test_same_bits_for_any_number_of_threads(graph, n_samples, dtype):
    net = gb.Network(graph(), backend="numba", dtype=dtype)
    X, T = batch(net, n_samples)
    v = np.random.default_rng(3).normal(size=net.n_parameters).astype(dtype)

    def everything():
        found = [net.forward(X), *net.error_and_gradient(X, T), net.jacobian(X[:40]), net.hessian_operator(X, T) @ v]
        return [np.asarray(part).tobytes() for part in found]

    with gb.config(threads=1):
        alone = everything()
    for threads in (2, 3, 7):
        with gb.config(threads=threads):
            assert everything() == alone


def test_two_python_threads_at_once():
    """Many calls from four threads return what one thread returns."""
    nets = [gb.Network(dag(seed=s), backend="numba") for s in range(2)] + [gb.Network(layered(), backend="numba")]
    work = [(net, *batch(net, 300)) for net in nets]
    expected = [net.gradient(X, T) for net, X, T in work]
    wrong = []

    def loop():
        for _ in range(15):
            for (net, X, T), truth in zip(work, expected, strict=True):
                if not np.array_equal(net.gradient(X, T), truth):
                    wrong.append(net)

    threads = [threading.Thread(target=loop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# -- processes and caches ---------------------------------------------------------------------------------------------------------------

PROGRAM = """
import time
start = time.perf_counter()
import numpy as np, networkx as nx, graphbp as gb
g = nx.DiGraph()
g.add_nodes_from(["x1", "x2"])
g.add_node("h", activation="tanh", bias=0.1)
g.add_node("y", bias=0.0)
g.add_weighted_edges_from([("x1", "h", 0.4), ("x2", "h", -0.6), ("h", "y", 1.2), ("x1", "y", 0.3)])
if __name__ == "__main__":
    net = gb.Network(g, backend="numba")
    value = net.gradient(np.ones((4, 2)), np.zeros((4, 1)))
    print(repr(float(value.sum())), time.perf_counter() - start)
"""


def run(program, **environment):
    found = subprocess.run(
        [sys.executable, "-W", "error::SyntaxWarning", "-c", program],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
    )
    assert found.returncode == 0, found.stderr
    return found


@pytest.mark.thorough
def test_a_second_process_compiles_nothing(tmp_path):
    """The cache on disk is read by a second process: no file of it is written again."""
    folder = tmp_path / "cache"
    first = run(PROGRAM, NUMBA_CACHE_DIR=str(folder))
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("*.nb?")}
    assert files
    second = run(PROGRAM, NUMBA_CACHE_DIR=str(folder))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.nb?")} == files
    assert first.stdout.split()[0] == second.stdout.split()[0]


def test_no_folder_for_the_cache(tmp_path, monkeypatch):
    """Neither the install folder nor the home can be written: a notice, and a folder of one's own for temporary files, or none."""
    calls = []

    def make_array(): ...

    def make(cache):
        calls.append((cache is not None, jit._settings.CACHE_DIR))
        if cache is not None and len(calls) < 2:
            raise RuntimeError("cannot cache function 'sweep': no locator available for file '/usr/lib/kernels.py'")
        return "made"

    monkeypatch.setattr(jit.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(jit, "_notices", set())
    jit._temporary_folder.cache_clear()
    before = jit._settings.CACHE_DIR
    with pytest.warns(RuntimeWarning, match="cache goes to"):
        assert jit._cached(make_array, (), make) == "made"
    assert calls[1][0] is True
    assert Path(calls[1][1]).parent == tmp_path
    assert Path(calls[1][1]).stat().st_mode & 0o077 == 0
    assert before == jit._settings.CACHE_DIR

    Path(calls[1][1]).chmod(0o777)  # somebody else could put code there: not used
    jit._temporary_folder.cache_clear()
    calls.clear()
    with pytest.warns(RuntimeWarning, match="compiles anew"):
        assert jit._cached(make_array, (), make) == "made"
    assert calls[-1][0] is False
    jit._temporary_folder.cache_clear()


SPAWN = """
import multiprocessing, numpy as np
from pathlib import Path
import sys
sys.path.insert(0, {folder!r})
import child

if __name__ == "__main__":
    here = child.gradient(0)
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        for found in pool.map(child.gradient, range(4)):
            assert np.array_equal(found, here)
    print("equal")
"""

CHILD = """
import numpy as np, networkx as nx, graphbp as gb

def gradient(_):
    g = nx.DiGraph()
    g.add_node("x", units=3)
    g.add_node("y", units=2, activation="tanh", bias=[0.1, 0.2])
    g.add_edge("x", "y", weight=np.arange(6.0).reshape(2, 3) / 6)
    net = gb.Network(g, backend="numba")
    return net.gradient(np.ones((500, 3)), np.zeros((500, 2)))
"""


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_children(tmp_path, method):
    """After spawn, and after a fork of a process whose threads have worked, children compute the same."""
    if method == "fork" and not hasattr(os, "fork"):
        pytest.skip("no fork here")
    (tmp_path / "child.py").write_text(textwrap.dedent(CHILD))
    program = tmp_path / "program.py"
    program.write_text(SPAWN.format(folder=str(tmp_path), method=method))
    found = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=300)
    assert found.stdout.strip() == "equal", found.stderr


def test_importing_the_backend_imports_no_numba():
    run("import sys, graphbp_numba; graphbp_numba.backend.availability(); assert 'numba' not in sys.modules")


def test_memory_does_not_grow_with_samples():
    """The buffers of a gradient are the tiles' and the partitions', whatever N is."""
    import tracemalloc

    net = gb.Network(dag(n_hidden=2000), backend="numba")
    peaks = []
    for n_samples in (2000, 20000):
        X, T = batch(net, n_samples)
        net.gradient(X, T)
        tracemalloc.start()
        net.gradient(X, T)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] < 2000 * 2000 * 8
