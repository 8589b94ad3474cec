"""Checkpoints: a run that is stopped at any moment and called again ends with the bits of one that never stopped."""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import graphbp as gb
from graphbp.training import checkpoint

OPTIMIZERS = ["sgd", "adam", "lbfgs", "newton"]


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 3))
    return X, np.stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]], axis=1)


def network(seed: int = 0, dtype: str = "float64") -> gb.Network:
    return gb.Network(gb.random_dag(3, 8, 2, density=0.6, seed=seed), backend="numpy", dtype=dtype)


def options(optimizer: str) -> dict:
    own = {"lbfgs": {"restart_every": 4}, "newton": {}}.get(optimizer, {"batch_size": 7})
    return {"optimizer": optimizer, "validation_split": 0.2, "seed": 2, "patience": 30, **own}


def run(name: str, path: Path | None, epochs: int, net: gb.Network | None = None, **more) -> tuple[gb.Network, object]:
    net = network() if net is None else net
    history = gb.train(net, *data(), epochs=epochs, checkpoint=path, **options(name) | more)
    return net, history


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("stop", [1, 3, 4, 6, 9])
def test_stopped_by_an_exception_and_resumed(tmp_path, optimizer, stop):
    path = tmp_path / "run.npz"
    whole, reference = run(optimizer, None, 10)

    def fail(event):
        if event.epoch == stop:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        run(optimizer, path, 10, callbacks=fail)
    other = network()
    if path.exists():  # the weights come from the checkpoint
        other.weights = 0.5 * other.weights
    net, history = run(optimizer, path, 10, net=other)
    assert net.weights.tobytes() == whole.weights.tobytes()
    assert (history.error, history.validation_error) == (reference.error, reference.validation_error)
    assert history.epoch == list(range(1, 11))
    assert history.best_epoch == reference.best_epoch


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_ctrl_c_in_the_middle_of_an_epoch_and_resumed(tmp_path, monkeypatch, optimizer):
    """What is saved then is the last finished epoch, the optimizer's moments too, not what half an epoch made of them."""
    path = tmp_path / "run.npz"
    whole, _ = run(optimizer, None, 10)
    net, calls = network(), []
    real = net.model.run.error_and_gradient

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 7 * 4 + 3:  # seven batches an epoch
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(net.model.run, "error_and_gradient", interrupted)
    _, history = run(optimizer, path, 10, net=net)
    assert len(history) == 4
    resumed, _ = run(optimizer, path, 10)
    assert resumed.weights.tobytes() == whole.weights.tobytes()


@pytest.mark.parametrize("hessian", [True, False], ids=["newton", "l-bfgs alone"])
@pytest.mark.parametrize("optimizer", ["lbfgs", "levenberg_marquardt", "newton"])
@pytest.mark.parametrize("moment", [1, 4, 9, 13, 22])
def test_ctrl_c_in_the_middle_of_an_iteration_and_resumed(tmp_path, monkeypatch, optimizer, moment, hessian):
    """At any evaluation: what is saved is the last finished iteration with all that the next one depends on."""
    if not hessian:
        monkeypatch.setattr("graphbp.training.objective.HESSIAN_PARAMETERS", 0)
    path = tmp_path / "run.npz"
    own = {"optimizer": optimizer, "seed": 2, "validation_split": 0.2, "epochs": 12}
    whole = network()
    reference = gb.train(whole, *data(), **own)
    method = "forward" if optimizer == "levenberg_marquardt" else "error_and_gradient"
    for stop in (moment, moment + 1):
        net, calls = network(), []
        real = getattr(net.model.run, method)

        def interrupted(*args, calls=calls, real=real, stop=stop):
            calls.append(1)
            if len(calls) == stop:
                raise KeyboardInterrupt
            return real(*args)

        monkeypatch.setattr(net.model.run, method, interrupted)
        history = gb.train(net, *data(), checkpoint=path, **own)
        assert "interrupted" in history.reason or len(calls) < stop
    resumed = network()
    history = gb.train(resumed, *data(), checkpoint=path, **own)
    assert resumed.weights.tobytes() == whole.weights.tobytes()
    assert (history.error, history.reason) == (reference.error, reference.reason)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_lbfgs_resumes_after_every_iteration(tmp_path, dtype):
    whole, _ = run("lbfgs", None, 9, network(dtype=dtype), restart_every=None)
    path = tmp_path / "run.npz"
    for epochs in range(1, 10):
        net, _ = run("lbfgs", path, epochs, network(dtype=dtype), restart_every=None)
    assert net.weights.tobytes() == whole.weights.tobytes()


def test_ctrl_c_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    path, calls = tmp_path / "run.npz", []
    whole, _ = run("adam", None, 8)
    real = checkpoint.write_atomically

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(checkpoint, "write_atomically", interrupted)
    _, history = run("adam", path, 8)
    assert "interrupted" in history.reason
    resumed, _ = run("adam", path, 8)
    assert resumed.weights.tobytes() == whole.weights.tobytes()


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, "levenberg_marquardt"])
@pytest.mark.parametrize("where", ["nowhere/run.npz", "file/run.npz", "folder", "n" * 300])
def test_an_unwritable_checkpoint_is_refused_before_the_first_epoch(tmp_path, optimizer, where):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    net = network()
    before = net.weights.copy()
    with pytest.raises(gb.GraphbpError, match=where[:4]):
        gb.train(
            net, *data(), optimizer=optimizer, epochs=3, checkpoint=tmp_path / where, callbacks=lambda e: pytest.fail("trained")
        )
    assert np.array_equal(net.weights, before)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("name", ["model.json", "weights.npz", "notes.txt"])
def test_a_file_that_is_no_checkpoint_is_neither_overwritten_nor_to_be_deleted(tmp_path, name, resume):
    path = tmp_path / name
    if name == "model.json":
        network().save(path)
    elif name == "weights.npz":
        np.savez(path, weights=network().weights)
    else:
        path.write_text("do not lose this")
    before = path.read_bytes()
    with pytest.raises(gb.FileFormatError, match="something else than a training checkpoint") as caught:
        run("adam", path, 2, resume=resume)
    assert "delete" not in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_more_epochs_continue(tmp_path, optimizer):
    path = tmp_path / "run.npz"
    whole, _ = run(optimizer, None, 11)
    run(optimizer, path, 6)
    net, _ = run(optimizer, path, 11)
    assert net.weights.tobytes() == whole.weights.tobytes()


def test_a_finished_run_returns_at_once(tmp_path):
    path = tmp_path / "run.npz"
    first, before = run("adam", path, 300, patience=3, learning_rate=0.05)
    assert before.reason == "no improvement for 3 epochs"
    again, after = run("adam", path, 300, patience=3, learning_rate=0.05, callbacks=lambda e: pytest.fail("ran on"))
    assert after.reason == before.reason
    assert after.restored
    assert again.weights.tobytes() == first.weights.tobytes()


def test_resume_false_starts_afresh(tmp_path):
    path = tmp_path / "run.npz"
    run("sgd", path, 3)
    seen = []
    run("sgd", path, 3, resume=False, callbacks=lambda e: seen.append(e.epoch))
    assert seen == [1, 2, 3]


def test_the_best_epoch_is_known_after_resuming(tmp_path):
    """The run goes on beyond its best epoch, is cut there, and is called again: the best weights come from the file."""
    path, settings = tmp_path / "run.npz", {"patience": None, "learning_rate": 0.05, "restore_best": True}
    whole, straight = run("adam", None, 120, **settings)
    assert straight.best_epoch < 110
    run("adam", path, 110, **settings)
    net, history = run("adam", path, 120, **settings)
    assert (history.best_epoch, history.restored) == (straight.best_epoch, True)
    assert net.weights.tobytes() == whole.weights.tobytes()


def test_the_end_of_a_run_is_saved_between_two_checkpoints(tmp_path):
    path, settings = tmp_path / "run.npz", {"patience": 3, "learning_rate": 0.05, "checkpoint_every": 1000}
    _, history = run("adam", path, 300, **settings)
    assert history.reason == "no improvement for 3 epochs"
    assert np.load(path)["array.history.error"].size == len(history.error) < 300


def test_checkpoint_every(tmp_path):
    path, kept = tmp_path / "run.npz", []
    run(
        "adam",
        path,
        7,
        checkpoint_every=3,
        callbacks=lambda e: kept.append(path.exists() and int(np.load(path)["array.history.error"].size)),
    )
    assert kept == [False, False, 3, 3, 3, 6, 7]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 3}, "seed: 2 there, 3 now"),
        ({"learning_rate": 0.5}, "learning_rate: 0.01 there, 0.5 now"),
        ({"optimizer": "adam"}, "optimizer: sgd there, adam now"),
        ({"validation_split": 0.3}, "validation_split"),
        ({"net": network(seed=7)}, "network"),
        ({"net": network(dtype="float32")}, "dtype: float64 there, float32 now"),
        ({"sample_weight": np.ones(60)}, "training data"),
    ],
)
def test_another_run_is_refused_by_name(tmp_path, change, message):
    path = tmp_path / "run.npz"
    run("sgd", path, 2)
    with pytest.raises(gb.ConfigError, match=message):
        run("sgd", path, 3, **change)


def test_other_data_are_refused(tmp_path):
    path = tmp_path / "run.npz"
    run("sgd", path, 2)
    X, T = data()
    X[5, 1] += 1e-9
    with pytest.raises(gb.ConfigError, match=r"(training|validation) data"):
        gb.train(network(), X, T, epochs=3, checkpoint=path, **options("sgd"))


@pytest.mark.parametrize("damage", ["cut", "flip", "text", "empty", "checksum"])
def test_a_damaged_file_is_refused(tmp_path, damage):
    path = tmp_path / "run.npz"
    run("sgd", path, 2)
    whole = path.read_bytes()
    if damage == "checksum":
        with np.load(path) as file:
            arrays = dict(file)
        arrays["array.theta"][0] += 1
        np.savez(path, **arrays)
    else:
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 0xFF
        path.write_bytes({"cut": whole[: len(whole) // 2], "flip": bytes(flipped), "text": b"hello", "empty": b""}[damage])
    with pytest.raises(gb.FileFormatError, match=r"run\.npz"):
        run("sgd", path, 3)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(gb.DataError, match="nowhere"):
        run("sgd", tmp_path / "nowhere" / "run.npz", 2)


SCRIPT = """
import sys, numpy as np, graphbp as gb
rng = np.random.default_rng(0)
X = rng.normal(size=(400, 6)); T = np.sin(X[:, :2]) + X[:, 2:4] * X[:, 4:]
net = gb.Network(gb.random_dag(6, 20, 2, density=0.5, seed=int(sys.argv[4])), backend="numpy")
options = {"nesterov": True} if sys.argv[1] == "sgd" else {"weight_decay": 0.01}
history = gb.train(net, X, T, optimizer=sys.argv[1], epochs=40, batch_size=32, validation_split=0.1, seed=4, patience=40,
                   checkpoint=sys.argv[2] or None, **options)
np.savez(sys.argv[3], weights=net.weights, error=history.error, validation=history.validation_error)
"""


@pytest.mark.parametrize("optimizer", [pytest.param("sgd", marks=pytest.mark.thorough), "adam"])
def test_killed_at_random_moments(tmp_path, optimizer):
    """SIGKILL as soon as the checkpoint has been replaced and a random moment later; called again until it ends by itself."""
    script, checkpoint = tmp_path / "run.py", tmp_path / "run.npz"
    script.write_text(textwrap.dedent(SCRIPT))

    def start(path: str | Path, result: Path) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, str(script), optimizer, str(path), str(result), "3"])

    draw = random.Random(f"{optimizer} kills")
    kills = 0
    for _ in range(3):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = start(checkpoint, tmp_path / "killed.npz")
        while process.poll() is None and not (checkpoint.exists() and checkpoint.stat().st_mtime_ns != before):
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.05))
        kills += process.poll() is None
        process.kill()
        process.wait()
    assert kills >= 2, "the run was over before it could be killed: give it more epochs"
    assert not (tmp_path / "killed.npz").exists()
    assert start(checkpoint, tmp_path / "killed.npz").wait() == 0
    assert start("", tmp_path / "whole.npz").wait() == 0
    killed, whole = np.load(tmp_path / "killed.npz"), np.load(tmp_path / "whole.npz")
    for name in whole.files:
        assert killed[name].tobytes() == whole[name].tobytes(), name
