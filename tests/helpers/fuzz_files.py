"""Damaged files of every format: whatever is wrong with one, reading it gives a network or one of graphbp's errors that names it.

    python tests/helpers/fuzz_files.py --minutes 10 --seed 7

damages files until the time is over, and prints seed, format and error of what came out raw.  The test suite runs the first few
hundred of the same damages.  Digests are taken out or made right again, so that damage reaches the readers behind them.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
from scipy import sparse

import graphbp as gb
from graphbp.files import save_graph, write_graph
from graphbp.training.checkpoint import Saved, read_checkpoint, write_checkpoint

Rng = np.random.Generator

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**400, -0.0, 0.5, 1e308, -1e-320, float("nan"), float("inf"),
    "", "x", "h", "nan", "\0", "\ud800", "é" * 50, [], [[]], [0] * 9, {}, {"": 0}, {"$tuple": []}, {"$tuple": [1]},
    {"$dict": [[1, 2]]}, {"$dict": [1]}, {"$float": "inf"}, {"$scalar": ["int8", 300]}, {"$scalar": ["float16", 1]}, {"$array": "a0"},
    {"$array": "a1"}, {"$text": {"shape": [2], "data": ["a", "b" * 90]}}, {"$text": {"shape": [0, 9], "data": []}},
    {"$sparse": {"format": "csc", "kind": "array", "shape": [1, 10**10], "data": "a0", "indices": "a1", "indptr": "a2"}},
    {"$sparse": {"format": "dia", "kind": "matrix", "shape": [0, 0], "data": "a3", "indices": "a4", "indptr": "a5"}},
]  # fmt: skip


def graph() -> nx.DiGraph[Any]:
    """Something of everything that graphbp's own format holds."""
    g = gb.layered([3, 4, 2], seed=1)
    g.edges["x", "h1"]["weight"] = sparse.csr_array(np.arange(12.0).reshape(4, 3))
    g.add_node(("u", 1), bias=0.5, activation="tanh", note={"a": [1, (2, None)], 3: float("inf")}, names=np.array(["a", "bc"]))
    g.add_node("v", role="output", tie="t", bias=np.float32(0.5), table=np.arange(6, dtype=np.int16).reshape(2, 3))
    g.nodes["y"]["role"] = "output"
    g.add_edge("h1", ("u", 1), weight=np.ones((1, 4)), trainable=False)
    g.add_edge(("u", 1), "v", weight=2.0, tie="w")
    return g


def bytes_of(content: bytes, rng: Rng) -> bytes:
    """The content with a few damages: bits, bytes, slices, numbers."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        size = len(data)
        if not size:
            break
        i, j = sorted(int(k) for k in rng.integers(0, size + 1, 2))
        j = min(j, i + 40)
        kind = int(rng.integers(8))
        if kind == 0:
            data[min(i, size - 1)] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data[min(i, size - 1)] = int(rng.integers(256))
        elif kind == 2:
            del data[i:j]
        elif kind == 3:
            data[i:i] = data[i:j]
        elif kind == 4:
            data[i:i] = rng.bytes(int(rng.integers(1, 9)))
        elif kind == 5:
            del data[i:]
        elif kind == 6:
            digits = [k for k in range(size) if 48 <= data[k] < 58]
            if digits:
                k = digits[int(rng.integers(len(digits)))]
                data[k : k + 1] = [b"-1", b"1e999", b"9" * 30, b"", b"nan", b"0"][int(rng.integers(6))]
        else:
            k = min(i, max(size - 4, 0))
            data[k : k + 4] = [b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", b"\1\0\0\0"][int(rng.integers(4))]
    return bytes(data)


def value_of(document: Any, rng: Rng) -> Any:
    """The JSON value with one or two of its parts replaced, doubled or taken out."""
    document = copy.deepcopy(document)
    for _ in range(int(rng.integers(1, 3))):
        places = list(_places(document))
        if places:
            at, key = places[int(rng.integers(len(places)))]
            kind = int(rng.integers(4))
            if kind == 0:
                del at[key]
            elif kind == 1 and isinstance(at, list):
                at.insert(key, copy.deepcopy(at[key]))
            else:
                at[key] = copy.deepcopy(ODD[int(rng.integers(len(ODD)))])
    return document


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = range(len(value)) if isinstance(value, list) else list(value) if isinstance(value, dict) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


class Corpus:
    """Whole files in a folder, and for each format a function that damages one and a function that reads it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for storage in ("inline", "npz", "safetensors"):
            write_graph(
                graph(), folder / f"{storage}.json", weights=storage, metadata={"error": "sum_of_squares", "dtype": "float32"}
            )
        self.documents = {s: json.loads((folder / f"{s}.json").read_text()) for s in ("inline", "npz", "safetensors")}
        for document in self.documents.values():
            del document["sha256"]
        units = gb.random_dag(3, 6, 2, activation=["relu", "square"], output_activation="abs", fan_in=2, seed=2)
        save_graph(units, folder / "m.out", format="wann", drop="all")
        save_graph(units, folder / "neat.json", format="neat", drop="all")
        save_graph(gb.layered([2, 3, 1], activation="relu"), folder / "m.nnet", drop="all")
        write_checkpoint(folder / "m.ckpt", Saved({"theta": np.arange(9.0), "n": np.array(3)}, {"a": "b"}, {"epoch": 3}))
        self.whole = {file.name: file.read_bytes() for file in folder.iterdir()}
        self.kinds: dict[str, Callable[[Rng], Path]] = {
            "own, bytes": lambda rng: self._put("m.json", bytes_of(json.dumps(self.documents["inline"]).encode(), rng)),
            "own, values": lambda rng: self._put("m.json", json.dumps(value_of(self.documents["inline"], rng)).encode()),
            "npz, values": lambda rng: self._put("m.json", json.dumps(value_of(self.documents["npz"], rng)).encode()),
            "npz, bytes": lambda rng: self._beside("npz", rng),
            "safetensors, bytes": lambda rng: self._beside("safetensors", rng),
            "neat, bytes": lambda rng: self._put("m.json", bytes_of(self.whole["neat.json"], rng)),
            "neat, values": lambda rng: self._put(
                "m.json", json.dumps(value_of(json.loads(self.whole["neat.json"]), rng)).encode()
            ),
            "wann": lambda rng: self._put("damaged.out", bytes_of(self.whole["m.out"], rng)),
            "nnet": lambda rng: self._put("damaged.nnet", bytes_of(self.whole["m.nnet"], rng)),
            "checkpoint": lambda rng: self._put("damaged.ckpt", bytes_of(self.whole["m.ckpt"], rng)),
        }

    def _put(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def _beside(self, storage: str, rng: Rng) -> Path:
        """A damaged weights file of which the JSON has the size and the digest."""
        document = copy.deepcopy(self.documents[storage])
        content = bytes_of(self.whole[document["weights"]["file"]], rng)
        name = f"damaged.{storage}"
        self._put(name, content)
        document["weights"].update(file=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        return self._put("m.json", json.dumps(document).encode())

    def read(self, path: Path) -> None:
        """As a user would."""
        if path.suffix == ".ckpt":
            read_checkpoint(path)
            return
        options = {"inputs": 3, "outputs": 2} if path.suffix == ".out" else {}
        gb.load(path, backend="numpy", **options)

    def raw(self, kind: str, seed: int) -> str | None:
        """What came out of one damage where it was none of graphbp's errors, or did not name the file."""
        path = self.kinds[kind](np.random.default_rng([seed, sorted(self.kinds).index(kind)]))
        try:
            self.read(path)
        except gb.GraphbpError as problem:
            return None if str(self.folder) in str(problem) else f"does not name the file: {problem}"
        except Exception:
            return traceback.format_exc()
        return None


def main() -> int:
    """Damage files until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    end, seed, found = time.monotonic() + 60 * given.minutes, given.seed, 0
    with tempfile.TemporaryDirectory() as folder:
        corpus = Corpus(Path(folder))
        while time.monotonic() < end:
            for kind in corpus.kinds:
                problem = corpus.raw(kind, seed)
                if problem is not None:
                    found += 1
                    print(f"seed {seed}, {kind}: {problem}", flush=True)
            seed += 1
    print(f"{(seed - given.seed) * len(corpus.kinds):,} damaged files, {found} raw")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
