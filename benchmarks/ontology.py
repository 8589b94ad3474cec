"""A visible neural network on a published ontology: a small layer a term, fed by its child terms and by the genes annotated to it.

2,086 terms of the Gene Ontology, six tanh units each, and a linear output at the root: 485,053 parameters (DrugCell; its ontology and
genes are the files of idekerlab/DrugCell).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import numpy as np
from scipy import sparse

from benchmarks.networks import Array
from benchmarks.outcome import MissingError

UNITS = 6


@dataclass(frozen=True, eq=False)
class TermNetwork:
    """Terms in topological order, the root last.  weights[i] is (units, genes[i] + units · children[i]), in that order of its columns.

    genes : for each term, the columns of X that feed it.
    children : for each term, the numbers of its child terms.
    head : (1, units), from the root.
    """

    n_genes: int
    genes: tuple[Array, ...]
    children: tuple[tuple[int, ...], ...]
    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    head: Array

    @property
    def n_edges(self) -> int:
        return sum(w.size for w in self.weights) + self.head.size

    def graph(self) -> nx.DiGraph:
        """A layer node a term, one sparse edge from all genes, a dense one from each child."""
        g = nx.DiGraph()
        g.add_node("genes", units=self.n_genes, role="input")
        for i, (own, below, w, b) in enumerate(zip(self.genes, self.children, self.weights, self.biases, strict=True)):
            g.add_node(i, units=len(b), activation="tanh", bias=b)
            if len(own):
                rows = w[:, : len(own)].ravel(), np.tile(own, len(b)), np.arange(len(b) + 1) * len(own)
                g.add_edge("genes", i, weight=sparse.csr_array(rows, (len(b), self.n_genes)))
            parts = np.split(w[:, len(own) :], len(below), axis=1) if below else []
            g.add_edges_from((child, i, {"weight": part}) for child, part in zip(below, parts, strict=True))
        g.add_node("y", bias=0.0, role="output")
        g.add_edge(len(self.weights) - 1, "y", weight=self.head)
        return g

    def flat(self, weights: list[Array], biases: list[Array], head: Array, head_bias: Array) -> Array:
        """The order of `net.weights` of `graph`: term by term, the weights of each edge row by row, then the bias."""
        pieces = []
        for own, below, w, b in zip(self.genes, self.children, weights, biases, strict=True):
            edges = [w[:, : len(own)], *(np.split(w[:, len(own) :], len(below), axis=1) if below else [])]
            pieces += [edge.ravel() for edge in edges] + [b]
        return np.concatenate([*pieces, head.ravel(), head_bias])


def folder() -> Path:
    """Where the published files are: $GRAPHBP_DATA/drugcell, else ../shared/data/drugcell beside the repository."""
    root = os.environ.get("GRAPHBP_DATA")
    found = (Path(root) if root else Path(__file__).resolve().parents[2] / "shared" / "data") / "drugcell"
    if not (found / "ontology.tsv").is_file():
        raise MissingError(f"no ontology in {found}", "set GRAPHBP_DATA to the folder that holds drugcell/")
    return found


def published(seed: int = 0) -> TermNetwork:
    """The published ontology with seeded normal weights of variance 1 / fan-in."""
    names = (folder() / "genes.txt").read_text(encoding="utf-8").split()
    column = {name: i for i, name in enumerate(names)}
    terms, own = nx.DiGraph(), dict[str, list[int]]()
    for line in (folder() / "ontology.tsv").read_text(encoding="utf-8").splitlines():
        term, other, kind = line.split()
        terms.add_node(term)
        if kind != "gene":
            terms.add_edge(other, term)
        elif other in column:
            own.setdefault(term, []).append(column[other])
    order = list(nx.topological_sort(terms))
    number = {term: i for i, term in enumerate(order)}
    genes = tuple(np.array(sorted(own.get(term, [])), np.int64) for term in order)
    children = tuple(tuple(number[child] for child in terms.predecessors(term)) for term in order)
    rng = np.random.default_rng(seed)
    fan_in = [len(at) + UNITS * len(below) for at, below in zip(genes, children, strict=True)]
    weights = tuple(rng.normal(size=(UNITS, n)) / np.sqrt(n) for n in fan_in)
    biases = tuple(np.zeros(UNITS) for _ in order)
    return TermNetwork(len(names), genes, children, weights, biases, rng.normal(size=(1, UNITS)))


def mutations(n: int, n_genes: int, seed: int = 1) -> Array:
    """(n, genes) float32 zeros and ones: one gene in fifty is hit."""
    hit = np.random.default_rng(seed).random((n, n_genes), dtype=np.float32) < 0.02
    return hit.astype(np.float32)
