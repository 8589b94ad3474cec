"""Several writers and readers of one path, writers that are killed or interrupted, and what a file keeps of the one that it replaces."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

import graphbp as gb
from graphbp.files import atomic, native, read_graph_file, write_atomically, write_graph
from graphbp.files.archive import npz_bytes
from graphbp.training.checkpoint import Saved, read_checkpoint, write_checkpoint

posix = pytest.mark.skipif(os.name != "posix", reason="modes, locks and signals are POSIX's")


def graph(seed):
    return gb.layered([2, 3, 1], seed=seed)


WRITER = """
    import sys
    import graphbp as gb
    from graphbp.files import write_graph
    graphs = [gb.layered([2, 3, 1], seed=seed) for seed in range(3)]  # few: writers write one another's weights files
    for k in range(int(sys.argv[2])):
        write_graph(graphs[(k * int(sys.argv[3])) % 3], sys.argv[1], weights=("npz", "npz", "inline")[k % 3])
"""


@posix
def test_writers_and_a_reader_of_one_path(tmp_path):
    path = tmp_path / "m.json"
    write_graph(graph(0), path, weights="npz")
    code = textwrap.dedent(WRITER)
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), "60", str(step)]) for step in (1, 2)]
    reads = 0
    while any(writer.poll() is None for writer in writers):
        read_graph_file(path)
        reads += 1
    assert [writer.returncode for writer in writers] == [0, 0]
    assert reads
    found = read_graph_file(path)[0]["x"]["h1"]["weight"]
    assert any(np.array_equal(found, graph(seed)["x"]["h1"]["weight"]) for seed in range(3))
    assert len(list(tmp_path.iterdir())) <= 2


@posix
def test_a_weights_file_that_another_writer_is_about_to_name_stays(tmp_path, monkeypatch):
    """Between A's two files B replaces the model, whose weights are those that A is saving again, and would remove them."""
    path = tmp_path / "m.json"
    write_graph(graph(0), path, weights="npz")
    commit, others = atomic.Draft.commit, []

    def interrupted(draft):
        commit(draft)
        if not others:
            others.append(threading.Thread(target=write_graph, args=(graph(1), path), kwargs={"weights": "npz"}))
            others[0].start()
            others[0].join(0.5)

    monkeypatch.setattr(atomic.Draft, "commit", interrupted)
    write_graph(graph(0), path, weights="npz")
    read_graph_file(path)
    others[0].join()
    assert np.array_equal(read_graph_file(path)[0]["x"]["h1"]["weight"], graph(1)["x"]["h1"]["weight"])


def test_a_model_replaced_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    path = tmp_path / "m.json"
    write_graph(graph(0), path, weights="npz")
    read, seeds = native.read_file, [1, 2]

    def overtaken(file, *limit):
        content = read(file, *limit)
        if seeds and str(file) == str(path) and not limit:
            monkeypatch.setattr(native, "locked", lambda *_, **__: contextlib.nullcontext())  # the reader's own lock is held by now
            write_graph(graph(seeds.pop()), path, weights="npz")
        return content

    monkeypatch.setattr(native, "read_file", overtaken)
    found = read_graph_file(path)[0]["x"]["h1"]["weight"]
    assert np.array_equal(found, graph(1)["x"]["h1"]["weight"])
    next(tmp_path.glob("*.npz")).unlink()
    with pytest.raises(gb.FileFormatError, match="keep both in one folder"):
        read_graph_file(path)


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o664])
@pytest.mark.parametrize("named", [False, True])
def test_a_replaced_file_keeps_its_mode(tmp_path, monkeypatch, mode, named):
    if named:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    path = tmp_path / "m.json"
    write_graph(graph(0), path, weights="inline")
    path.chmod(mode)
    write_graph(graph(1), path, weights="npz")
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {mode}  # the weights are no less private
    assert len(list(tmp_path.iterdir())) == 2


@posix
@pytest.mark.parametrize("named", [False, True])
def test_a_new_file_has_the_mode_that_the_umask_says(tmp_path, monkeypatch, named):
    if named:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_links_are_followed_and_devices_are_left_alone(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "a")
    write_atomically(tmp_path / "link", b"x")
    assert (tmp_path / "real" / "a").read_bytes() == b"x"
    for path, message in ((tmp_path / "real", "is a folder"), (os.devnull, "no regular file")):
        with pytest.raises(gb.DataError, match=message):
            write_atomically(path, b"x")
    assert [file.name for file in (tmp_path / "real").iterdir()] == ["a"]


KILLED = """
    import os, signal, sys
    from graphbp.files import write_atomically
    if sys.argv[2] == "named" and hasattr(os, "O_TMPFILE"):
        del os.O_TMPFILE
    write_atomically(sys.argv[1], lambda file: (file.write(b"half"), file.flush(), os.kill(os.getpid(), signal.SIGKILL)))
"""


@posix
@pytest.mark.parametrize("way", ["unnamed", "named"])
def test_a_killed_writer_leaves_nothing_for_long(tmp_path, monkeypatch, way):
    path = tmp_path / "a"
    write_atomically(path, b"old")
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(path), way], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    left = len(list(tmp_path.glob(".a.*.tmp")))
    assert left == (way == "named" or not hasattr(os, "O_TMPFILE"))
    (tmp_path / ".a.01234567.tmp").write_bytes(b"of an older graphbp")
    (tmp_path / ".ab.01234567.tmp").write_bytes(b"another file's")
    write_atomically(path, b"new")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"a": b"new", ".ab.01234567.tmp": b"another file's"}


@posix
def test_the_draft_of_a_living_writer_stays(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    with atomic.Draft(tmp_path / "a", b"one") as first:
        write_atomically(tmp_path / "a", b"two")
        first.commit()
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a", b"one")]


@posix
def test_a_file_system_that_cannot_name_a_draft_gets_a_copy(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(95, "Operation not supported")

    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(0o600)
    monkeypatch.setattr(os, "link", refuse)
    write_atomically(tmp_path / "a", b"new")
    assert [(file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) for file in tmp_path.iterdir()] == [(b"new", 0o600)]


def test_a_name_as_long_as_names_may_be(tmp_path):
    path = tmp_path / ("é" * 127)
    write_atomically(path, b"x")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def interrupt_inside(archive, left):
    left.append((archive, archive.open("a.npy", "w")))
    raise KeyboardInterrupt  # as between the opening of a member and the `with` that closes it


@pytest.mark.parametrize("old", [None, b"old"])
def test_ctrl_c_inside_an_archive_comes_out_as_itself(tmp_path, old):
    path = tmp_path / "a.npz"
    if old:
        path.write_bytes(old)

    left = []

    def write(file):
        with zipfile.ZipFile(file, "w") as archive:
            interrupt_inside(archive, left)

    with pytest.raises(ValueError, match="open writing handle"):
        write(io.BytesIO())
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, write)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([old] if old else [])
    for archive, member in left:  # else each complains again when it is collected
        archive.fp = io.BytesIO()
        member.close()
        archive.close()


def test_ctrl_c_inside_the_weights_comes_out_as_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(np.lib.format, "write_array", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        npz_bytes({"a": np.zeros(3)})
    with pytest.raises(KeyboardInterrupt):
        write_graph(graph(0), tmp_path / "m.json", weights="npz")
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(tmp_path / "c", Saved({"theta": np.zeros(3)}, {}, {}))
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_that_is_being_handled_is_not_this_one(tmp_path):
    """Ctrl-C in training saves a checkpoint; where that fails, it is said."""
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        with pytest.raises(gb.DataError, match="cannot be written"):
            write_atomically(tmp_path / "none" / "a", b"x")


def test_a_checkpoint_of_before_still_loads(tmp_path):
    """Written by np.savez, with an array in Fortran order."""
    from graphbp.training import checkpoint

    arrays = {"theta": np.arange(3.0), "state.m": np.asfortranarray(np.arange(6.0).reshape(2, 3))}
    header = {"format": "graphbp training checkpoint", "version": 1, "fingerprint": {"a": "b"}, "record": {"epoch": 2}}
    header["sha256"] = checkpoint._sum(header, arrays)
    text = np.frombuffer(checkpoint.json.dumps(header).encode(), np.uint8)
    np.savez(tmp_path / "c.npz", header=text, **{f"array.{name}": array for name, array in arrays.items()})
    found = read_checkpoint(tmp_path / "c.npz")
    assert all(np.array_equal(found.arrays[name], array) for name, array in arrays.items())
    assert found.record == {"epoch": 2}


def test_a_copy_under_another_name_or_layout_keeps_its_weights(tmp_path):
    path = tmp_path / "m.json"
    write_graph(graph(0), path, weights="npz")
    (tmp_path / "m.json.bak").write_bytes(path.read_bytes())
    write_graph(graph(1), path, weights="npz")
    (tmp_path / "sorted.json").write_text(json.dumps(json.loads(path.read_text()), sort_keys=True, indent=1))
    write_graph(graph(2), path, weights="npz")
    for name in ("m.json.bak", "sorted.json", "m.json"):
        read_graph_file(tmp_path / name)
    assert len(list(tmp_path.glob("*.npz"))) == 3


def test_a_name_that_no_other_system_takes_reads_back(tmp_path):
    for name in ("a:b.json", "c\\d.json"):
        write_graph(graph(0), tmp_path / name, weights="npz")
        write_graph(graph(1), tmp_path / name, weights="npz")
        read_graph_file(tmp_path / name)
    assert len(list(Path(tmp_path).iterdir())) == 4
