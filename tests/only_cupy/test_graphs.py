"""CUDA graphs: a call that comes again is one launch with the same bits, and every way to record wrongly is refused by the stand-in."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from instruments import fake_cupy, fake_device, probe

import graphbp as gb
from graphbp_cupy import CupyBackend, graphs

REPLAYED = ("forward", "error", "gradient", "vjp", "jvp", "hessian_operator", "outer_product_operator")
SPARSE = 0
"""Of the tiny networks, the one without dense blocks: all its calls can be recorded."""


def network(backend: str = probe.SIMULATED, which: int = SPARSE, **options: Any) -> gb.Network:
    _, graph, error = list(probe.tiny_networks())[which]
    return gb.Network(graph, error=error, backend=backend, **options)


def recorder(net: gb.Network) -> graphs.Recorder:
    return net.model.run.executable.recorder  # type: ignore[no-any-return]  # the executable that Composed wraps


@pytest.fixture
def plain() -> Iterator[str]:
    """A backend that records nothing."""
    name = "cupy (simulated, no graphs)"
    gb.extend.register_backend(CupyBackend(name, fake_cupy, graphs=False))
    yield name
    gb.extend.unregister_backend(name)


@pytest.mark.sampled
@pytest.mark.parametrize("backend", list(probe.PATHS))
@pytest.mark.parametrize("quantity", REPLAYED)
def test_a_replay_has_the_bits_of_a_call_and_takes_one_launch(quantity: str, backend: str) -> None:
    net, fresh = network(backend), network(backend)
    net.weights = np.linspace(-0.5, 0.7, len(net.weights))
    for seed in range(3):
        data = probe.data_of(net, 9, seed)
        fake_cupy.log.clear()
        found = np.asarray(probe.QUANTITIES[quantity](net, data))
        launches = dict(fake_cupy.log.launches)
        fresh = network(backend, which=SPARSE)
        fresh.weights = net.weights
        np.testing.assert_array_equal(found, np.asarray(probe.QUANTITIES[quantity](fresh, data)))
        net.weights = -0.9 * net.weights  # what is replayed next must see it
    assert set(launches) == {"copy", "graph"}
    assert launches["graph"] == 1


def test_results_are_the_callers_own() -> None:
    net = network()
    data = [probe.data_of(net, 9, seed)["X"] for seed in range(4)]
    there = [fake_cupy.asarray(X) for X in data]
    results = [net.forward(X) for X in there]
    results[2] *= 0
    truth = network("numpy")
    for k in (0, 1, 3):
        np.testing.assert_allclose(results[k].get(), truth.forward(data[k]), rtol=1e-12)
    np.testing.assert_allclose(net.forward(there[2]).get(), truth.forward(data[2]), rtol=1e-12)


def test_replays_on_several_streams_wait_for_each_other_on_the_device() -> None:
    net = network()
    data = probe.data_of(net, 9)
    truth = net.gradient(data["X"], data["T"])
    streams = [fake_cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
    for stream in (*streams, *streams):
        with stream:
            fake_cupy.log.clear()
            np.testing.assert_array_equal(net.gradient(data["X"], data["T"]), truth)
        assert fake_cupy.log.waits == 2  # E, and the gradient's way to NumPy
    assert recorder(net)._kept


def test_shapes_weights_and_budgets_have_recordings_of_their_own() -> None:
    net = network()
    for n in (5, 9):
        data = probe.data_of(net, n)
        for weighted in (None, data["s"]):
            for _ in range(3):
                net.gradient(data["X"], data["T"], sample_weight=weighted)
    assert len(recorder(net)._kept) == 4
    with gb.config(memory=1 << 20):
        for _ in range(2):
            net.gradient(data["X"], data["T"])
    assert len(recorder(net)._kept) == 5


def test_recordings_go_with_the_network_and_for_newer_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "KEEP", 2)
    gc.collect()
    before = fake_cupy.memory.used
    net = network()
    for n in (4, 5, 6):
        for _ in range(2):
            net.forward(np.ones((n, net.schedule.n_inputs)))
    kept = recorder(net)
    assert [key[3][0] for key in kept._kept] == [5, 6]
    one = fake_cupy.memory.used
    for n in range(4, 40):
        for _ in range(2):
            net.forward(np.ones((n, net.schedule.n_inputs)))
    assert "change too often" in net.describe(4)
    assert not kept._kept
    assert fake_cupy.memory.used < one
    del net, kept
    gc.collect()
    assert fake_cupy.memory.used == before


def test_what_is_too_large_to_keep_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network(probe.LEVEL)
    with gb.config(memory=20_000):
        assert "bytes of working arrays would be kept, more than 1,250" in net.describe(100)
        for _ in range(3):
            net.forward(np.ones((100, net.schedule.n_inputs)))
    assert not recorder(net)._kept


def test_dense_blocks_on_the_level_path_are_never_recorded_and_say_why() -> None:
    net = network(probe.LEVEL, which=1)
    data = probe.data_of(net, 9)
    for _ in range(3):
        net.gradient(data["X"], data["T"])
    assert not recorder(net)._kept
    assert "no CUDA graph: its dense blocks are cuBLAS's" in net.describe(9)
    assert "one launch of a CUDA graph" in network(which=1).describe(9)


def test_the_switch(plain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = network(plain)
    for _ in range(3):
        fake_cupy.log.clear()
        net.forward(np.ones((4, 2)))
        assert "graph" not in fake_cupy.log.launches
    assert "no CUDA graph: switched off by GRAPHBP_CUDA_GRAPHS=0" in net.describe(4)
    monkeypatch.setenv("GRAPHBP_CUDA_GRAPHS", "0")
    assert not CupyBackend("x", fake_cupy).graphs
    monkeypatch.setenv("GRAPHBP_CUDA_GRAPHS", "1")
    assert CupyBackend("x", fake_cupy).graphs


def test_a_recording_that_fails_is_said_once_and_the_call_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any) -> Any:
        raise RuntimeError("cudaErrorStreamCaptureUnsupported")

    monkeypatch.setattr(fake_device.Stream, "begin_capture", broken)
    net = network()
    data = probe.data_of(net, 9)
    truth = net.gradient(data["X"], data["T"])
    with pytest.warns(RuntimeWarning, match="no CUDA graphs for this network, recording failed: .*CaptureUnsupported"):
        np.testing.assert_array_equal(net.gradient(data["X"], data["T"]), truth)
    np.testing.assert_array_equal(net.gradient(data["X"], data["T"]), truth)  # and not again
    assert "recording failed" in net.describe(9)


def test_no_memory_for_a_recording_is_no_error() -> None:
    net = network()
    data = probe.data_of(net, 9)
    gc.collect()
    before = fake_cupy.memory.peak = fake_cupy.memory.used
    truth = net.gradient(data["X"], data["T"])
    gc.collect()
    fake_cupy.memory.limit = fake_cupy.memory.used + fake_cupy.memory.peak - before + 8  # the call itself fits
    np.testing.assert_array_equal(net.gradient(data["X"], data["T"]), truth)
    assert not recorder(net)._kept
    fake_cupy.memory.limit = 1 << 34
    for _ in range(2):
        np.testing.assert_array_equal(net.gradient(data["X"], data["T"]), truth)
    assert recorder(net)._kept


def _used_after(work: Callable[[gb.Network, dict[str, Any]], object], net: gb.Network, data: dict[str, Any]) -> int:
    work(net, data)
    gc.collect()
    return fake_cupy.memory.used


def _record(net: gb.Network, data: dict[str, Any]) -> None:
    for _ in range(3):
        net.gradient(data["X"], data["T"])


def test_a_dropped_network_gives_back_the_memory_of_its_recordings() -> None:
    gc.collect()
    before = fake_cupy.memory.used
    net = network()
    data = probe.data_of(net, 9)
    assert _used_after(_record, net, data) > before
    assert recorder(net)._kept
    del net
    gc.collect()
    assert fake_cupy.memory.used == before


@pytest.mark.parametrize("n_shapes", [1, 2])
def test_a_recording_that_makes_room_gives_back_its_memory(n_shapes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "KEEP", 1)
    net = network()
    data = probe.data_of(net, 9)
    one = _used_after(_record, net, data)
    for _ in range(n_shapes):
        for n in (8, 9):
            _record(net, {name: value[:n] for name, value in data.items() if name in ("X", "T")})
    assert _used_after(_record, net, data) == one


def test_a_recording_that_fails_gives_back_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any) -> Any:
        raise RuntimeError("cudaErrorStreamCaptureUnsupported")

    net = network()
    data = probe.data_of(net, 9)
    before = _used_after(lambda net, data: net.gradient(data["X"], data["T"]), net, data)
    monkeypatch.setattr(fake_device.Stream, "begin_capture", broken)
    with pytest.warns(RuntimeWarning, match="recording failed"):
        net.gradient(data["X"], data["T"])
    gc.collect()
    assert fake_cupy.memory.used == before


# -- mistakes in recording, and the rule that each meets -----------------------------------------------------------------------


def _no_event(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fake_device.Stream, "wait_event", lambda *_: None)


def _no_pool(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fake_cupy.cuda, "using_allocator", lambda _: contextlib.nullcontext())


def _pool_freed_too_early(patch: pytest.MonkeyPatch) -> None:
    made = graphs._Recording

    def freed(graph: Any, inputs: Any, outputs: Any, pool: Any, event: Any) -> Any:
        pool.free_all_blocks()
        return made(graph, inputs, outputs, pool, event)

    patch.setattr(graphs, "_Recording", freed)


def _no_warm_up(patch: pytest.MonkeyPatch) -> None:
    capture = graphs.Recorder._capture

    def cold(self: graphs.Recorder, body: Callable[..., Any], inputs: Any, pool: Any) -> Any:
        runs = iter([lambda *_: None, body])
        return capture(self, lambda *own: next(runs)(*own), inputs, pool)

    patch.setattr(graphs.Recorder, "_capture", cold)


def _stale_inputs(patch: pytest.MonkeyPatch) -> None:
    replay = graphs.Recorder._replay
    patch.setattr(graphs.Recorder, "_replay", lambda self, made, inputs: replay(self, made, tuple(made.inputs)))


def _shared_results(patch: pytest.MonkeyPatch) -> None:
    def replay(_: Any, made: Any, inputs: Any) -> Any:
        fake_cupy.cuda.get_current_stream().wait_event(made.event)
        for own, given in zip(made.inputs, inputs, strict=True):
            own[...] = given
        made.graph.launch()
        return made.outputs

    patch.setattr(graphs.Recorder, "_replay", replay)


@pytest.mark.parametrize(
    ("mistake", "seen"),
    [
        (_no_event, "races with work on stream"),
        (_no_pool, r"memory from the device \(cudaMalloc\), while a stream records"),
        (_no_warm_up, r"memory from the device \(cudaMalloc\), while a stream records"),
        (_pool_freed_too_early, "has been freed"),
        (_stale_inputs, "different numbers"),
        (_shared_results, "different numbers"),
    ],
)
def test_a_mistake_in_recording_is_seen(mistake: Callable[[pytest.MonkeyPatch], None], seen: str) -> None:
    net, truth = network(), network("numpy")
    with pytest.MonkeyPatch.context() as patch:
        mistake(patch)
        with pytest.raises((fake_device.DeviceError, RuntimeWarning, AssertionError), match=seen):
            _five_calls(net, truth)


def _five_calls(net: gb.Network, truth: gb.Network) -> None:
    Xs = [probe.data_of(net, 9, seed)["X"] for seed in range(5)]
    results = [net.forward(fake_cupy.asarray(X)) for X in Xs]
    assert all(np.allclose(y.get(), truth.forward(X)) for y, X in zip(results, Xs, strict=True)), "different numbers"


def _recorded(work: Callable[[fake_cupy.ndarray], object]) -> None:
    a = fake_cupy.ones((3, 3))
    stream = fake_cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        try:
            work(a)
        finally:
            with contextlib.suppress(fake_device.DeviceError):
                stream.end_capture()


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda a: a.get(), "the host waiting"),
        (lambda a: a[0, 0].item(), "the host waiting"),
        (lambda _: fake_cupy.asarray(np.ones(3)), "a copy from the host"),
        (lambda _: fake_cupy.zeros(3), "cudaMalloc"),
        (lambda _: fake_cupy.cuda.get_current_stream().synchronize(), "the host waiting"),
        (lambda _: fake_cupy.cuda.Event().record(), "an event"),
        (lambda _: fake_cupy.cuda.Stream().begin_capture(), "a second recording"),
        (lambda a: fake_cupy.matmul(a, a), "cuBLAS"),
    ],
)
def test_the_stand_in_refuses_while_a_stream_records(work: Callable[[Any], object], message: str) -> None:
    with pytest.raises((fake_device.DeviceError, NotImplementedError), match=f"{message}.*while a stream records"):
        _recorded(work)


def test_the_stand_in_records_without_running() -> None:
    a = fake_cupy.ones(3)
    with pytest.raises(fake_device.DeviceError, match="legacy default stream"):
        fake_cupy.cuda.get_current_stream().begin_capture()
    stream = fake_cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        a += 1
        graph = stream.end_capture()
    assert a.get().tolist() == [1, 1, 1]
    graph.launch()
    graph.launch()
    assert a.get().tolist() == [3, 3, 3]
    with stream:
        stream.begin_capture()
        with contextlib.suppress(fake_device.DeviceError):
            a.get()
        with pytest.raises(fake_device.DeviceError, match="Invalidated"):
            stream.end_capture()
    with stream:
        stream.begin_capture()
        with fake_cupy.cuda.Stream(), pytest.raises(fake_device.DeviceError, match="on another stream"):
            a += 1
        with pytest.raises(fake_device.DeviceError, match="Invalidated"):
            stream.end_capture()
    del a
    gc.collect()
    with pytest.raises(fake_device.DeviceError, match="has been freed"):
        graph.launch()
