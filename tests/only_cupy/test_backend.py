"""What the backend promises beside the numbers: where arrays live, what crosses to the host, streams, memory, bits, refusals."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from instruments import fake_cupy, probe, simulator

import graphbp as gb
from graphbp.extend import BackendError, MemoryLimitError
from graphbp_cupy import CupyBackend, memory, module, paths

CALLS = [name for name in probe.QUANTITIES if name not in ("trace", "hessian_operator", "outer_product_operator")]
WAITING = {"error": 2, "gradient": 2, "hessian": 1, "hessian_diagonal": 1, "jacobian": 1, "weight_jacobian": 1}
"""How often a quantity waits for the device: E is a Python float, and what is computed depends on which sample weights are 0, and on
whether a Jacobian is finite."""


def network(backend: str = probe.SIMULATED, dtype: str = "float64", which: int = 1) -> gb.Network:
    _, graph, error = list(probe.tiny_networks())[which]
    return gb.Network(graph, error=error, backend=backend, dtype=dtype)


def on_device(data: dict[str, Any], dtype: str = "float64") -> dict[str, Any]:
    return {name: fake_cupy.asarray(np.ascontiguousarray(value, dtype)) for name, value in data.items()}


@pytest.mark.sampled
@pytest.mark.parametrize("backend", [probe.SIMULATED, probe.LEVEL])
@pytest.mark.parametrize("quantity", CALLS)
def test_device_arrays_in_and_out_without_a_hidden_transfer(quantity: str, backend: str) -> None:
    net = network(backend)
    host = probe.data_of(net, 9)
    device = on_device(host)
    probe.QUANTITIES[quantity](net, device)  # tables that are made on first use
    fake_cupy.log.clear()
    result = probe.QUANTITIES[quantity](net, device)
    assert fake_cupy.log.uploads == 0
    assert fake_cupy.log.downloads == fake_cupy.log.waits == WAITING.get(quantity, 0)
    if quantity != "error":
        assert isinstance(result, fake_cupy.ndarray)
        np.testing.assert_array_equal(result.get(), probe.QUANTITIES[quantity](net, host))


def test_numpy_in_numpy_out() -> None:
    net = network()
    assert type(net.forward(np.zeros((2, 5)))) is np.ndarray


@pytest.mark.parametrize("quantity", CALLS)
def test_everything_runs_on_the_current_stream(quantity: str) -> None:
    net = network()
    device = on_device(probe.data_of(net, 9))
    stream = fake_cupy.cuda.Stream(non_blocking=True)
    fake_cupy.log.clear()
    with stream:
        probe.QUANTITIES[quantity](net, device)
    assert fake_cupy.log.streams == {stream.ptr}


def test_dlpack_from_another_library_on_the_device() -> None:
    class Tensor:
        """As a CUDA tensor of PyTorch: DLPack, and no conversion to NumPy."""

        def __init__(self, array: Any) -> None:
            self.array, self.shape, self.dtype = array, array.shape, array.dtype

        def __dlpack__(self, **_: Any) -> Any:
            return self.array

        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 0

        def __len__(self) -> int:
            return len(self.array)

    net = network()
    X = probe.data_of(net, 4)["X"]
    fake_cupy.log.clear()
    result = net.forward(Tensor(fake_cupy.asarray(X)))
    assert isinstance(result, fake_cupy.ndarray)
    assert fake_cupy.log.downloads == 0
    np.testing.assert_array_equal(result.get(), net.forward(X))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("backend", [probe.SIMULATED, probe.LEVEL])
def test_the_same_bits_whatever_the_order_of_threads(backend: str, dtype: str) -> None:
    net = network(backend, dtype)
    data = probe.data_of(net, 40)
    results = []
    for fake_cupy.order.name, fake_cupy.order.seed in (("ascending", 1), ("descending", 1), ("shuffled", 3), ("shuffled", 4)):
        results.append({name: compute(net, data) for name, compute in probe.QUANTITIES.items()})
    for other in results[1:]:
        for name in probe.QUANTITIES:
            np.testing.assert_array_equal(results[0][name], other[name], err_msg=name)


@pytest.mark.parametrize("quantity", list(probe.QUANTITIES))
@pytest.mark.parametrize("which", [0, 1, 2])
def test_chunks_and_batches_change_nothing(monkeypatch: pytest.MonkeyPatch, quantity: str, which: int) -> None:
    net = network(probe.LEVEL, which=which)
    data = probe.data_of(net, 41)
    whole = probe.QUANTITIES[quantity](net, data)
    monkeypatch.setattr(memory, "SHARE", fake_cupy.memory.total // (300 * 8 * net.schedule.n_rows))
    cut = net.model.run.executable.cut(41, "diagonal", net.schedule.n_units)  # the executable that Composed wraps
    assert cut.chunk < 41
    assert cut.batch < net.schedule.n_units
    np.testing.assert_allclose(probe.QUANTITIES[quantity](net, data), whole, rtol=1e-10, atol=1e-12)


def test_memory_does_not_grow_with_the_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SHARE", fake_cupy.memory.total // 100_000)
    monkeypatch.setattr(paths, "MAX_BLOCKS", 8)
    for backend in (probe.SIMULATED, probe.LEVEL):
        net = network(backend)
        peaks = []
        for n in (400, 1600):
            device = on_device({k: v for k, v in probe.data_of(net, n).items() if k in ("X", "T")})
            gc.collect()  # of what earlier tests left
            before = fake_cupy.memory.peak = fake_cupy.memory.used
            net.gradient(device["X"], device["T"])
            peaks.append(fake_cupy.memory.peak - before)
            del device
        assert peaks[1] - peaks[0] <= 3 * 1200 * 8, backend  # E_n, sample weights and nothing else
        assert peaks[0] <= 1.3 * 100_000 + 400 * 16, backend


def calls_of(run: Any, f: dict[str, Any]) -> dict[str, tuple[Callable[[], Any], str, int]]:
    """For each quantity: the call, the name of its cut, and its directions."""
    s, theta = run.schedule, f["theta"]
    given = theta, f["X"], f["T"], f["s"]
    return {
        "forward": (lambda: run.forward(theta, f["X"]), "forward", 0),
        "error": (lambda: run.error(*given), "forward", 0),
        "error_and_gradient": (lambda: run.error_and_gradient(*given), "gradient", 0),
        "per_sample_gradient": (lambda: run.per_sample_gradient(*given), "gradient", 0),
        "vjp": (lambda: run.vjp(theta, f["X"], f["V"]), "gradient", 0),
        "jvp": (lambda: run.jvp(theta, f["X"], f["U"], None), "jvp", 1),
        "jacobian": (lambda: run.jacobian(theta, f["X"]), "jacobian", min(s.n_inputs, s.n_outputs)),
        "weight_jacobian": (lambda: run.weight_jacobian(theta, f["X"]), "weight_jacobian", s.n_outputs),
        "hessian_product": (lambda: run.hessian_product(*given, f["v"]), "product", 3),
        "outer_product_product": (lambda: run.outer_product_product(*given, f["v"]), "product", 3),
        "hessian": (lambda: run.hessian(*given), "hessian", s.n_units),
        "outer_product_hessian": (lambda: run.outer_product_hessian(*given), "hessian", s.n_units),
        "hessian_diagonal": (lambda: run.hessian_diagonal(*given), "diagonal", s.n_units),
    }


@pytest.mark.sampled
@pytest.mark.parametrize("budget", [100_000, 400_000])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_the_plan_is_what_a_call_holds_at_its_peak(monkeypatch: pytest.MonkeyPatch, which: int, budget: int) -> None:
    monkeypatch.setattr(memory, "SHARE", fake_cupy.memory.total // budget)
    net, n = network(probe.LEVEL, which=which), 300
    run = net.model.run.executable
    run.recorder.refusal = "a recording would be counted too"
    slots, parameters = run.program.sizes["n_slots"], net.schedule.n_parameters
    f = on_device({**probe.data_of(net, n), "theta": net.weights})
    for quantity, (call, name, directions) in calls_of(run, f).items():
        call()  # tables that are made on first use
        gc.collect()
        before = fake_cupy.memory.peak = fake_cupy.memory.used
        result = call()
        peak = fake_cupy.memory.peak - before
        arrays = [a for a in (result if isinstance(result, tuple) else (result,)) if isinstance(a, fake_cupy.ndarray)]
        results = sum(a.nbytes for a in arrays)
        cut = run.cut(n, name, directions)
        small = 8 * 4 * slots  # weights and sums by slot
        working = cut.bytes + small
        if name == "hessian":  # half of it by slots, to which the result is added when the working arrays are gone
            results, working = 8 * slots**2, max(working, 8 * parameters**2 + small)
        if name == "product":
            results = 8 * 3 * (slots + parameters)
        assert peak - results <= working, quantity
        assert peak - results >= 0.75 * cut.bytes, quantity
        if cut.chunk > 1:
            assert cut.bytes <= budget or (cut.chunk, cut.batch) == (memory._WIDE, 1), quantity


def test_out_of_memory_is_an_error_with_the_bytes_of_the_plan() -> None:
    net = network(probe.LEVEL)
    data = probe.data_of(net, 500)
    net.gradient(data["X"], data["T"])
    fake_cupy.memory.limit = fake_cupy.memory.used + 60_000
    with pytest.raises(
        MemoryLimitError, match=r"error_and_gradient: .*500 samples at once, [\d,]+ bytes of working arrays.*gb.config\(memory"
    ):
        net.gradient(data["X"], data["T"])
    fake_cupy.memory.limit = 1 << 34
    net.gradient(data["X"], data["T"])  # and the network still works


def test_the_memory_option_bounds_the_working_arrays() -> None:
    with gb.config(memory=40_000):
        assert network(probe.LEVEL).model.run.executable.cut(10_000).bytes <= 20_000


@pytest.mark.parametrize(
    ("shared", "path"),
    [
        (99 << 10, "fused: a block runs all levels on a tile of 32"),
        (8 << 10, "tile of 8"),
        (2 << 10, "wide: 8 samples of all 25 rows"),
    ],
)
def test_the_path_follows_the_shared_memory(monkeypatch: pytest.MonkeyPatch, shared: int, path: str) -> None:
    monkeypatch.setattr(fake_cupy.cuda.Device, "shared", shared)
    net, truth = network(), network("numpy")
    assert path in net.describe(100)
    data = probe.data_of(net, 50)
    np.testing.assert_allclose(net.gradient(data["X"], data["T"]), truth.gradient(data["X"], data["T"]), rtol=1e-10, atol=1e-12)


def test_two_networks_of_one_source_take_turns_in_more_shared_memory_than_is_given_unasked() -> None:
    def star(n: int) -> gb.Network:
        g = nx.DiGraph()
        for i in range(n):
            g.add_node(f"h{i}", activation="tanh")
            g.add_edge("x", f"h{i}", weight=1 / (i + 1))
            g.add_edge(f"h{i}", "y", weight=0.1)
        return gb.Network(g, backend=probe.SIMULATED, dtype="float64")

    large, small = star(334), star(244)
    X, T = np.ones((4, 1)), np.zeros((4, 1))
    taken = [net.model.run.executable.shape.shared_of(net.model.run.executable.path(4).lanes) for net in (large, small)]
    assert 48 << 10 < taken[1] < taken[0]
    first = large.gradient(X, T)
    small.gradient(X, T)
    small.forward(X)
    np.testing.assert_array_equal(large.gradient(X[:3], T[:3]), 0.75 * first)


H200 = {"shared_bytes": 227 << 10, "multiprocessors": 132}
DAG = paths.Shape(n_rows=10_000, n_outputs=10, n_edges=99_000, depth=102, dense_edges=0, itemsize=4, **H200)
"""10,000 single units, as they are measured on hardware."""


@pytest.mark.parametrize(
    ("shape", "n", "kind", "lanes"),
    [
        (DAG, 65_536, "wide", 32),
        (replace(DAG, itemsize=8), 65_536, "wide", 32),
        (DAG, 1024, "wide", 8),  # narrow tiles keep more blocks busy
        (replace(DAG, n_rows=1_000_000, n_edges=10_000_000), 8, "level", 0),  # one block would do it all
        (replace(DAG, n_rows=100, n_edges=900), 65_536, "fused", 32),
        (replace(DAG, n_rows=1400, n_edges=9000), 65_536, "fused", 16),
        (replace(DAG, dense_edges=50_000), 65_536, "level", 0),
    ],
)
def test_the_path_is_the_one_that_moves_least(shape: paths.Shape, n: int, kind: str, lanes: int) -> None:
    path = paths.choose(shape, n, budget=8 << 30)
    assert (path.kind, path.lanes) == (kind, lanes)


def test_a_wide_launch_keeps_to_the_budget() -> None:
    for budget in (8 << 30, 1 << 28, 1 << 24):
        path = paths.choose(DAG, 65_536, budget)
        assert path.blocks * DAG.wide_bytes(path.lanes) <= budget
        assert path.blocks <= paths.BLOCKS_EACH[4] * 132
    assert paths.choose(DAG, 65_536, 1 << 20).kind == "level"


@pytest.mark.parametrize("n", [1, 3, 40])
def test_a_wide_softmax_is_shared_by_a_team(n: int) -> None:
    g = gb.layered([3, 4, 300], output_activation="softmax")
    nets = [gb.Network(g, error="cross_entropy", backend=name) for name in ("numpy", *probe.PATHS)]
    data = probe.data_of(nets[0], n)
    for quantity in ("forward", "error", "gradient", "vjp", "jvp"):
        truth, *found = (np.asarray(probe.QUANTITIES[quantity](net, data)) for net in nets)
        for other in found:
            np.testing.assert_allclose(other, truth, rtol=1e-9, atol=1e-12)


def test_large_dense_blocks_go_to_cublas() -> None:
    net = gb.Network(gb.layered([200, 200, 3]), backend=probe.SIMULATED)
    assert "cuBLAS for the 40,600 edges" in net.describe(10)
    fake_cupy.log.clear()
    net.forward(np.zeros((2, 200)))
    assert fake_cupy.log.launches["matmul"] == 2


# -- the typed launch --------------------------------------------------------------------------------------------------------


def test_launch_converts_scalars_and_refuses_what_a_kernel_would_misread() -> None:
    kernels = module.Kernels(fake_cupy, np.dtype("float32"))
    values, total = fake_cupy.ones(5, "float32"), fake_cupy.zeros(1, "float64")
    kernels.launch("add_values", (1,), (256,), values, 5, total)
    assert total.item() == 5
    for wrong, message in [
        (fake_cupy.ones(5, "float64"), "float32 array on the device, got a float64 ndarray"),
        (np.ones(5, "float32"), "on the device, got a float32 ndarray"),
        (fake_cupy.ones((5, 2), "float32")[:, 0], "C-contiguous"),
        (1.0, "got a float"),
    ]:
        with pytest.raises(BackendError, match=message):
            kernels.launch("add_values", (1,), (256,), wrong, 5, total)
    with pytest.raises(BackendError, match="3 arguments, got 2"):
        kernels.launch("add_values", (1,), (256,), values, 5)


def test_signatures_read_from_the_source_are_those_the_compiler_sees() -> None:
    names = {"real": "f4", "double": "f8", "int": "i4", "long long": "i8", "unsigned char": "u1", "Network": "struct"}
    program = simulator.Program(module.module_source(), ["-DREAL=float"])
    for kernel, parameters in module.signatures().items():
        ours = [kind for kind, _ in parameters]
        for ctype, short in names.items():
            ours = [kind.replace(ctype, short) for kind in ours]
        assert ours == program.signature(kernel), kernel


# -- the stand-in's own rules ------------------------------------------------------------------------------------------------


def test_the_stand_in_keeps_cupys_rules() -> None:
    a = fake_cupy.ones((2, 3), "float32")
    host = np.ones((2, 3), "float32")
    for forbidden in (
        lambda: np.asarray(a),
        lambda: a + host,
        lambda: host + a,
        lambda: np.add(a, a),
        lambda: float(a[0, 0]),
        lambda: a + fake_cupy.ones((2, 3), "float64"),
        lambda: a.__setitem__(0, host[0]),
        lambda: fake_cupy.concatenate([a, host]),
    ):
        with pytest.raises(TypeError):
            forbidden()
    assert np.isnan(fake_cupy.empty(3).get()).all()
    view = a[:, 1]
    view += a[:, 2]
    assert a.get()[:, 1].tolist() == [2, 2]
    fake_cupy.log.clear()
    _ = a[np.array([0, 1])]
    assert fake_cupy.log.uploads == 1


def test_the_stand_in_refuses_the_bytes_that_cupy_would_pass() -> None:
    kernel = fake_cupy.RawModule(code=module.module_source(), options=("-DREAL=float",)).get_function("add_values")
    values, total = fake_cupy.ones(5, "float32"), fake_cupy.zeros(1, "float64")
    for wrong in (
        (values, 5, total),
        (values, np.int32(5), total),
        (total, np.int64(5), total),
        (values, np.int64(5), np.zeros(1)),
    ):
        with pytest.raises(TypeError):
            kernel((1,), (256,), wrong)
    with pytest.raises(simulator.SimulatedLaunchError, match="empty launch"):
        kernel((0,), (256,), (values, np.int64(5), total))
    with pytest.raises(simulator.SimulatedLaunchError, match="dynamic shared memory"):
        kernel((1,), (256,), (values, np.int64(5), total), shared_mem=1 << 20)


# -- where there is no GPU ---------------------------------------------------------------------------------------------------


def test_availability_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    state = CupyBackend().availability()
    assert not state.available
    assert "not install" in state.reason or "does not import" in state.reason
    assert "cuda13" in state.install


def test_availability_without_a_driver_and_with_a_broken_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_cupy.cuda, "is_available", lambda: False)
    assert "no NVIDIA driver" in CupyBackend("x", fake_cupy).availability().reason

    def broken() -> bool:
        raise RuntimeError("cudaErrorUnknown")

    monkeypatch.setattr(fake_cupy.cuda, "is_available", broken)
    assert "cudaErrorUnknown" in CupyBackend("x", fake_cupy).availability().reason


def test_importing_the_backend_imports_nothing_of_cuda() -> None:
    root = Path(__file__).parents[2]
    code = "import sys, graphbp_cupy; print([m for m in sys.modules if m.split('.')[0] in ('cupy', 'numba', 'cupyx')])"
    path = f"import sys; sys.path[:0] = [{str(root)!r}, {str(root / 'backends')!r}]; "
    done = subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_scaled_networks_take_and_give_raw_arrays_on_either_side():
    g = gb.layered([2, 3, 1])
    g.nodes["x"].update(shift=np.array([100.0, -3.0]), scale=np.array([10.0, 0.5]))
    g.nodes["y"].update(shift=50.0, scale=7.0)
    net, plain = gb.Network(g, backend=probe.SIMULATED), gb.Network(g, backend="numpy")
    X, T = np.array([[90.0, -2.5], [120.0, -4.0]]), np.array([[40.0], [55.0]])
    V, U = np.array([[0.5], [-2.0]]), np.array([[3.0, 1.0], [-1.0, 2.0]])
    calls = {
        "forward": (X,),
        "error": (X, T),
        "gradient": (X, T),
        "jacobian": (X,),
        "weight_jacobian": (X,),
        "vjp": (X, V),
        "jvp": (X, U),
        "weight_vjp": (X, V),
    }
    for name, arguments in calls.items():
        expected = getattr(plain, name)(*arguments)
        there = [net.model.backend.asarray(part, net.dtype) for part in arguments]
        for given in (arguments, there):
            found = getattr(net, name)(*given)
            assert net.model.backend.owns(found) == (given is there and name != "error"), name
            found = net.model.backend.to_numpy(found) if net.model.backend.owns(found) else found
            np.testing.assert_allclose(found, expected, rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(net.trace(X, T).z["y"], plain.trace(X, T).z["y"], rtol=1e-12)
    assert net.check(X, T).ok
