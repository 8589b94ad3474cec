"""Every product and factorization that BLAS or LAPACK does stands inside the gate, so that bits depend on no thread, Python's or BLAS's.

Seen line by line: while a quantity is computed, each line that is executed in graphbp and asks for one finds BLAS on one thread.
"""

from __future__ import annotations

import functools
import linecache
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import threadpoolctl

import graphbp as gb
from graphbp.testing import QUANTITIES
from graphbp.testing.zoo import zoo
from graphbp.threads import _pools, single_threaded_blas
from graphbp.uncertainty.inverse import outer_product_rows

ASKS = re.compile(r"[\w\])] @=? [\w(]|linalg\.|lapack\.|np\.(?:matmul|dot|vdot|inner|tensordot)\(|\.dot\(|optimize=True")
MODULES = ("graphbp.", "graphbp_numpy.")
NOT_ASKED = ("graphbp.testing", "graphbp.cli", "graphbp.verification", "graphbp.data")
"""No result is made of their products: those compare, and `graphbp.data` looks for NaN."""


@pytest.fixture
def two_blas_threads():
    np.ones((2, 2)) @ np.ones((2, 2))
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        if not _pools() or {pool.get() for pool in _pools()} == {1}:
            pytest.skip("BLAS has one thread only here")
        yield


@pytest.fixture
def outside(two_blas_threads):
    """The lines that asked BLAS for something outside the gate."""
    found: set[str] = set()

    def trace(frame, event, _):
        module = frame.f_globals.get("__name__", "")
        if not module.startswith(MODULES) or module.startswith(NOT_ASKED):
            return None
        if event == "line":
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).split("#")[0]
            if ASKS.search(line) and "import" not in line and any(pool.get() != 1 for pool in _pools()):
                found.add(f"{module}:{frame.f_lineno}: {line.strip()}")
        return trace

    before = sys.gettrace()
    threading.settrace(trace)
    sys.settrace(trace)
    yield found
    sys.settrace(before)
    threading.settrace(None)


@functools.cache
def classifier() -> tuple[gb.Network, np.ndarray, np.ndarray]:
    net = gb.Network(gb.layered([3, 4, 3], output_activation="softmax", seed=1), error="cross_entropy", backend="numpy")
    rng = np.random.default_rng(0)
    X, t = rng.normal(size=(20, 3)), rng.integers(3, size=20)
    gb.train(net, X, t, optimizer="lbfgs", epochs=300, l2=1 / 20, progress=False)
    return net, X, t


@functools.cache
def wide(outputs: int = 4) -> tuple[gb.Network, np.ndarray, np.ndarray]:
    """Large enough for OpenBLAS to cut its products and factorizations."""
    net = gb.Network(gb.layered([40, 16, outputs], seed=1), backend="numpy")
    rng = np.random.default_rng(0)
    return net, rng.normal(size=(200, 40)), rng.normal(size=(200, outputs))


HESSIANS = ["outer_product", "exact", "low_rank", "blocks", "diagonal"]
METHODS = ["sequential", "cholesky", "low_rank"]


def posterior(hessian: str, net: gb.Network, X: np.ndarray, t: np.ndarray) -> list[np.ndarray]:
    prior = 1e4 if hessian == "exact" else "marginal_likelihood"
    noise = {"noise": 1.0} if net.error_function.name == "sum_of_squares" else {}
    found = gb.laplace(net, X, t, hessian=hessian, prior_precision=prior, **noise)
    predictions = [found.predict(X[:9]), found.predict(X[:9], method="monte_carlo", n_samples=3)]
    parts = [part for p in predictions for part in (p.mean, p.variance, p.noise_variance)]
    return [*parts, found.variances, found.covariance, found.sample(3), np.array(found.log_marginal_likelihood)]


def inverse(method: str, net: gb.Network, X: np.ndarray, t: np.ndarray) -> list[np.ndarray]:
    rows = outer_product_rows(net, X[:5], t[:5])
    found = net.outer_product_inverse(X, t, 0.1, method=method)
    return [found.quadratic(rows), found.solve(rows[0]), found.diagonal(), found.dense()]


def test_the_tracer_sees_a_product_outside(outside):
    namespace = {"__name__": "graphbp.planted", "a": np.ones((2, 2))}
    source = "def f():\n    return a @ a\n"
    linecache.cache["planted"] = (len(source), None, source.splitlines(True), "planted")
    exec(compile(source, "planted", "exec"), namespace)
    namespace["f"]()
    assert len(outside) == 1
    outside.clear()
    with single_threaded_blas():
        namespace["f"]()
    assert not outside


@pytest.mark.filterwarnings("ignore:the weights are:UserWarning")
@pytest.mark.parametrize("hessian", HESSIANS)
def test_posteriors_stand_inside(hessian, request):
    data = classifier()
    outside = request.getfixturevalue("outside")
    posterior(hessian, *data)
    assert not outside


@pytest.mark.parametrize("method", METHODS)
def test_inverses_stand_inside(method, request):
    data = classifier()
    outside = request.getfixturevalue("outside")
    inverse(method, *data)
    assert not outside


@pytest.mark.sampled(6)
@pytest.mark.filterwarnings("ignore:.*it is composed from")
@pytest.mark.parametrize("quantity", QUANTITIES.values(), ids=str)
def test_quantities_stand_inside(quantity, outside):
    for case in zoo():
        if case.name.startswith("activation-") or case.name in ("large", "chain", "wide"):
            continue  # what they add is not a product
        net = gb.Network(case.graph, error=case.error or None, backend="numpy")
        if net.n_parameters:
            quantity.compute(net, case)
    assert not outside


@pytest.mark.sampled(2)
@pytest.mark.filterwarnings("ignore:the weights are:UserWarning")
@pytest.mark.parametrize(
    ("compute", "kind"), [(inverse, method) for method in METHODS] + [(posterior, hessian) for hessian in HESSIANS]
)
def test_bits_depend_on_no_thread(compute, kind):
    """The threads of BLAS, one and two, and four of Python's at once."""
    if kind == "low_rank":
        net, X, t = wide()
        data = net, X[:100], t[:100]
    else:
        data = wide()
    bits = set()
    for threads in (1, 2):
        with threadpoolctl.threadpool_limits(threads, user_api="blas"):
            bits.add(b"".join(np.ascontiguousarray(part).tobytes() for part in compute(kind, *data)))
            with ThreadPoolExecutor(4) as pool:
                for found in pool.map(lambda _: compute(kind, *data), range(4)):
                    bits.add(b"".join(np.ascontiguousarray(part).tobytes() for part in found))
    assert len(bits) == 1


def test_a_blas_that_a_first_call_loads_is_inside():
    """SciPy brings its own, and is imported by the first inverse."""
    code = """if True:
        import sys
        import numpy as np
        import graphbp as gb
        from graphbp.second_order import roots
        from graphbp.threads import _pools, single_threaded_blas

        seen, qr = [], None
        net = gb.Network(gb.layered([2, 1]), backend="numpy")
        original = roots._by_size
        def look(*args, **options):
            seen.append([pool.get() for pool in _pools()])
            return original(*args, **options)
        roots._by_size = look
        assert "scipy.linalg" not in sys.modules
        net.outer_product_inverse(np.ones((4, 2)), np.ones(4), 1.0).diagonal()
        assert seen and all(set(counts) == {1} for counts in seen), seen
    """
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
