"""A visible neural network: its graph is an ontology, so that each hidden layer is a term, and one can ask which terms matter.

    python examples/visible_network.py [--ontology ontology.tsv [go.obo ...]] [--data response.csv] [--folder runs/visible]

As in DCell and DrugCell (Ma et al. 2018, Kuenzi et al. 2020), every term is a small layer of tanh units, fed by the layers of its child
terms and by the genes annotated to it, and has a head: a linear output that predicts the response from this term alone.  The root's
head counts 1 in the error, every other 0.2, so that each term learns what it can.  Then three questions are asked of the network:

    what does a term know?    E of its head, in the history of the training
    what does it contribute?  the Jacobian ∂y(root)/∂a of the root by every term's units, from one reverse sweep; times what arrives in
                              a from the term's own genes, its deviation over samples says how far they move the root by way of this term
    how sure is the root?     a Laplace posterior over its weights

Without files it draws an ontology, and a response that falls where two genes of a term are hit, for three terms: the planted answer.
An ontology is a table of rows `parent child kind` (a gene where the kind is "gene", else a term), or OBO, read by obonet or goatools,
with a table of genes beside it.  The data are a CSV table: a row a sample, a column a gene, and the response in the last one.
The folder then holds picture.png, terms.csv (every term), history.csv (E of each head by epoch) and model.json (gb.load reads it).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import scipy.sparse as sp

import graphbp as gb

# -- the ontology: a DiGraph from child to parent, the way values flow; each term has its genes --------------------------------------


def read_ontology(paths: list[Path]) -> nx.DiGraph:
    """Tables and OBO files as one graph."""
    ontology = nx.DiGraph()
    for path in paths:
        if path.suffix == ".obo":
            read_obo(path, ontology)
            continue
        for row in filter(None, map(str.split, path.read_text(encoding="utf-8").splitlines())):
            if len(row) != 3:
                raise SystemExit(f"{path}: a row is `parent child kind`, and one is {' '.join(row)!r}")
            parent, child, kind = row
            ontology.add_node(parent)
            if kind == "gene":
                ontology.nodes[parent].setdefault("genes", []).append(child)
            else:
                ontology.add_edge(child, parent)
    return ontology


def read_obo(path: Path, ontology: nx.DiGraph) -> None:
    """Terms by name, with the edges is_a and part_of."""
    try:
        import obonet
    except ImportError:
        try:
            from goatools.obo_parser import GODag
        except ImportError:
            raise SystemExit(f"{path}: OBO is read by obonet or goatools, and neither is installed: pip install obonet") from None
        for term in set(GODag(str(path), optional_attrs={"relationship"}, prt=None).values()):
            ontology.add_node(term.id, name=term.name)
            ontology.add_edges_from((term.id, up.id) for up in term.parents | term.relationship.get("part_of", set()))
    else:
        read = obonet.read_obo(path)
        ontology.add_nodes_from((term, {"name": said.get("name", term)}) for term, said in read.nodes(data=True))
        ontology.add_edges_from((child, parent) for child, parent, kind in read.edges(keys=True) if kind in ("is_a", "part_of"))


def draw_ontology(rng: np.random.Generator) -> nx.DiGraph:
    """A cell of 4 systems, 12 processes and 36 pathways; some terms have two parents, and most genes serve two pathways."""
    ontology, levels = nx.DiGraph(), [["cell"]]
    for width in (4, 3, 3):
        levels.append([f"{above}.{i}".removeprefix("cell.") for above in levels[-1] for i in range(1, width + 1)])
        ontology.add_edges_from((term, levels[-2][k // width]) for k, term in enumerate(levels[-1]))
        ontology.add_edges_from((term, rng.choice(levels[-2])) for term in levels[-1][:: 2 * width])
    for term in levels[3]:
        ontology.nodes[term]["genes"] = [f"g{i}" for i in sorted(rng.choice(120, 7, replace=False))]
    return ontology


def below(ontology: nx.DiGraph, root: str | None, known: set[str] | None) -> nx.DiGraph:
    """The terms under the root that a known gene reaches; a term is told its `genes`, the graph its `root`."""
    if not nx.is_directed_acyclic_graph(ontology):
        raise SystemExit(f"the ontology has a cycle: {nx.find_cycle(ontology)}")
    roots = [term for term in ontology if ontology.out_degree(term) == 0]
    if root is None and len(roots) != 1:
        raise SystemExit(f"--root says which of {len(roots)} terms without a parent is meant: {', '.join(sorted(roots)[:9])}")
    if root is not None and root not in ontology:
        raise SystemExit(f"--root {root} is no term of the ontology")
    root = roots[0] if root is None else root
    part = ontology.subgraph({root, *nx.ancestors(ontology, root)}).copy()
    part.graph["root"] = root
    for _, told in part.nodes(data=True):
        told["genes"] = sorted({gene for gene in told.get("genes", []) if known is None or gene in known})
    reached = {up for term, genes in part.nodes("genes") if genes for up in (term, *nx.descendants(part, term))}
    if not reached:
        raise SystemExit("no gene of the data stands in the ontology: a row `term gene gene` says which genes a term has")
    part.remove_nodes_from(set(part) - reached)
    return part


# -- the response ------------------------------------------------------------------------------------------------------------------


def draw_response(
    ontology: nx.DiGraph, rng: np.random.Generator, samples: int
) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
    """(planted terms, genes, which of them are hit (N, D), response (N,)): it falls where two genes of a planted term are hit."""
    genes = sorted({gene for _, own in ontology.nodes("genes") for gene in own})
    terms = [term for term, own in ontology.nodes("genes") if 5 <= len(own) <= 12]
    if len(terms) < 3:
        raise SystemExit("a response is planted in three terms of 5 to 12 genes, and the ontology has fewer; give it --data")
    planted = sorted(rng.choice(terms, 3, replace=False).tolist())
    X = (rng.random((samples, len(genes))) < 0.15).astype(float)
    hits = [X[:, np.isin(genes, ontology.nodes[term]["genes"])].sum(axis=1) for term in planted]
    t = -np.sum([hit >= 2 for hit in hits], axis=0) + rng.normal(0, 0.2, len(X))
    return planted, genes, X, t


def read_response(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """(genes, X (N, D), response (N,)) of a CSV table."""
    with path.open(encoding="utf-8") as lines:
        names = next(lines).strip().split(",")
        table = np.loadtxt(lines, delimiter=",", ndmin=2)
    return names[:-1], table[:, :-1], table[:, -1]


# -- the network -------------------------------------------------------------------------------------------------------------------


def visible_network(ontology: nx.DiGraph, genes: list[str], units: int, seed: int) -> nx.DiGraph:
    """A layer of tanh units a term, its genes by a sparse edge from all of them, its head `y(term)`."""
    rng, column = np.random.default_rng(seed), {gene: i for i, gene in enumerate(genes)}
    g = nx.DiGraph()
    g.add_node("genes", units=len(genes), role="input", columns=genes)
    for term, told in ontology.nodes(data=True):
        own, children = [column[gene] for gene in told["genes"]], list(ontology.predecessors(term))
        size = (len(own) + units * len(children)) ** -0.5
        g.add_node(term, units=units, activation="tanh", bias=np.zeros(units))
        g.add_node(head(term), bias=0.0, role="output", error_weight=1.0 if term == ontology.graph["root"] else 0.2)
        g.add_edge(term, head(term), weight=rng.normal(0, units**-0.5, (1, units)))
        g.add_edges_from((child, term, {"weight": rng.normal(0, size, (units, units))}) for child in children)
        if own:
            rows = rng.normal(0, size, units * len(own)), np.tile(own, units), np.arange(units + 1) * len(own)
            g.add_edge("genes", term, weight=sp.csr_array(rows, (units, len(genes))))
    return g


def head(term: str) -> str:
    return f"y({term})"


# -- which terms matter ------------------------------------------------------------------------------------------------------------


def arriving(net: gb.Network, ontology: nx.DiGraph, X: np.ndarray) -> dict[tuple[str, str], float]:
    """(from, term) → deviation over samples of Σ_u ∂y(root)/∂a_u (W z)_u: how far what comes by this edge moves the root.

    δ = ∂E/∂a is ∂y(root)/∂a where the residual is 1 at the root and 0 at all other heads.
    """
    T = net.forward(X)
    T[:, net.outputs.index(head(ontology.graph["root"]))] -= 1
    seen = net.trace(X, T)
    edges = [*ontology.edges, *(("genes", term) for term, own in ontology.nodes("genes") if own)]
    return {(i, j): float(((net.weight(i, j) @ seen.z[i].T).T * seen.delta[j]).sum(axis=1).std()) for i, j in edges}


def sure_at(root: str, net: gb.Network, X: np.ndarray, t: np.ndarray, held: np.ndarray) -> tuple[Any, Any]:
    """(Laplace posterior, its prediction of what was held out) at the root, the other heads cut off.

    It is over all weights, or, where they are too many, over those of the root's head, whose inputs are the root's units.
    """
    g, x = net.to_networkx(), X
    g.remove_nodes_from([name for name in net.outputs if name != head(root)])
    large = len(X) * net.n_parameters > 1e7
    if large:
        x = net.trace(X, net.forward(X)).z[root]
        g = g.subgraph([root, head(root)]).copy()
        del g.nodes[root]["activation"], g.nodes[root]["bias"]
    alone = gb.Network(g)
    if large:
        gb.train(alone, x[~held], t[~held], optimizer="lbfgs", progress=False)  # the posterior belongs to a minimum
    posterior = gb.laplace(alone, x[~held], t[~held], prior_precision="marginal_likelihood", hessian="low_rank")
    return posterior, posterior.predict(x[held])


# -- the picture -------------------------------------------------------------------------------------------------------------------


def positions(ontology: nx.DiGraph) -> dict[str, tuple[float, float]]:
    """Levels by the longest path to the root, which stands on top; each term near its parents and children."""
    level: dict[str, int] = {}
    for term in reversed(list(nx.topological_sort(ontology))):
        level[term] = max((level[up] + 1 for up in ontology.successors(term)), default=0)
    rows = [[term for term in ontology if level[term] == k] for k in range(max(level.values()) + 1)]
    x = {term: (i + 0.5) / len(row) for row in rows for i, term in enumerate(row)}
    for _ in range(12):
        for row in rows:
            row.sort(key=lambda term: float(np.mean([x[other] for other in nx.all_neighbors(ontology, term)] or [0.5])))
            x.update({term: (i + 0.5) / len(row) for i, term in enumerate(row)})
    return {term: (x[term], -float(level[term])) for term in ontology}


def draw_terms(axes: Any, ontology: nx.DiGraph, flow: dict[tuple[str, str], float], told: list[str], planted: list[str]) -> None:
    """The ontology by level: edges as wide, and terms as dark, as what comes by them moves the root."""
    from matplotlib.collections import LineCollection

    at, most, small = positions(ontology), max(flow.values()), min(1.0, 60 / len(ontology))
    edges = sorted(ontology.edges, key=flow.__getitem__)  # the widest on top
    width = np.array([flow[edge] / most for edge in edges])
    lines = LineCollection([(at[i], at[j]) for i, j in edges], linewidths=0.9 * small + 6 * width, cmap="Blues", zorder=1)
    lines.set(array=width, clim=(-0.3, 1.1))
    axes.add_collection(lines)
    terms = sorted(ontology, key=lambda term: flow.get(("genes", term), 0.0))
    own = np.array([flow.get(("genes", term), 0.0) / most for term in terms])
    x, y = np.array([at[term] for term in terms]).T
    axes.scatter(
        x, y, s=(70 + 150 * own) * small + 4, c=own, cmap="OrRd", vmin=0, edgecolors="0.4", linewidths=0.6 * small, zorder=2
    )
    if planted:
        x, y = np.array([at[term] for term in planted]).T
        axes.scatter(x, y, s=420, facecolors="none", edgecolors="#12406b", linewidths=1.6, zorder=3, label="planted")
        axes.legend(frameon=False, loc="upper left")
    for term in {*told, *planted, ontology.graph["root"]}:
        axes.annotate(
            name_of(ontology, term),
            at[term],
            (0, 13 if term == ontology.graph["root"] else -24),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            zorder=4,
        )
    axes.set_title(f"{len(ontology):,} terms by level; width and colour: what comes this way moves the root", fontsize=10)
    axes.margins(y=0.09)
    axes.set_axis_off()


def draw_curves(axes: Any, history: Any, root: str, told: list[str]) -> None:
    """E of each head by epoch."""
    for values in history.heads.values():
        axes.plot(history.epoch, values, color="0.85", linewidth=0.6)
    for term in told:
        axes.plot(history.epoch, history.heads[head(term)], linewidth=1.4, label=term)
    axes.plot(history.epoch, history.heads[head(root)], color="black", linewidth=1.8, label=f"{root} (the root)")
    axes.axvline(history.best_epoch, color="0.6", linewidth=0.8, linestyle=":")
    axes.set(xlabel="epoch", ylabel="E of each head, held out", ylim=(0, None))
    axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)


def draw_prediction(axes: Any, prediction: Any, t: np.ndarray) -> None:
    """The root's prediction against the response, with two standard deviations of the posterior."""
    mean, deviation = prediction.mean[:, 0], prediction.standard_deviation[:, 0]
    axes.errorbar(t, mean, 2 * deviation, fmt=".", color="#12406b", ecolor="#8fb7dd", elinewidth=0.8, markersize=3)
    axes.axline((0, 0), slope=1, color="0.6", linewidth=0.8)
    axes.set(xlabel="response, held out", ylabel="root's prediction ± 2 sd")


def draw(path: Path, ontology: nx.DiGraph, flow: Any, history: Any, named: tuple[list[str], list[str]], seen: Any) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 6.4), layout="constrained")
    axes = figure.subplot_mosaic([["terms", "curves"], ["terms", "root"]], width_ratios=[2.6, 1])
    draw_terms(axes["terms"], ontology, flow, *named)
    draw_curves(axes["curves"], history, ontology.graph["root"], named[0])
    draw_prediction(axes["root"], *seen)
    figure.savefig(path, dpi=130)


def name_of(ontology: nx.DiGraph, term: str) -> str:
    return str(ontology.nodes[term].get("name", term))


def tell(ontology: nx.DiGraph, E: dict[str, float], own: dict[str, float], planted: list[str], folder: Path) -> list[str]:
    """Print the terms whose genes move the root most, write all of them, and return the few that stand out."""
    ranked = sorted(ontology, key=lambda term: -own[term])
    counts = {term: len(genes) for term, genes in ontology.nodes("genes")}
    print(f"\n{'term':20s} {'genes':>5s} {'E of its head':>14s} {'moves the root by':>18s}")
    for term in ranked[:8]:
        mark = "  planted" if term in planted else ""
        print(f"{name_of(ontology, term)[:20]:20s} {counts[term]:5d} {E[term]:14.3f} {own[term]:18.3f}{mark}")
    if planted:
        places = sorted(ranked.index(term) + 1 for term in planted)
        print(f"the planted terms are numbers {', '.join(map(str, places))} of {len(ontology):,}")
    rows = [f"{term},{counts[term]},{E[term]:.6g},{own[term]:.6g}" for term in ranked]
    (folder / "terms.csv").write_text("\n".join(["term,genes,E,moves_root", *rows, ""]), encoding="utf-8")
    return [term for term in ranked[:6] if own[term] > 0.2 * own[ranked[0]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ontology", type=Path, nargs="+", default=[], metavar="FILE", help="tables `parent child kind`, or .obo")
    parser.add_argument("--root", help="the term whose ontology is meant, where several have no parent")
    parser.add_argument("--data", type=Path, help="CSV: a row a sample, a column a gene, the response last")
    parser.add_argument("--samples", type=int, default=1200, help="how many to draw, without --data")
    parser.add_argument("--units", type=int, default=4, help="tanh units a term")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/visible"), help="where the results go")
    options = parser.parse_args()
    if options.data and not options.ontology:
        parser.error("--data needs an --ontology that has its genes")
    options.folder.mkdir(parents=True, exist_ok=True)

    rng, planted = np.random.default_rng(options.seed), []
    ontology = read_ontology(options.ontology) if options.ontology else draw_ontology(rng)
    if options.data:
        genes, X, t = read_response(options.data)
        ontology = below(ontology, options.root, set(genes))
    else:
        ontology = below(ontology, options.root, None)
        planted, genes, X, t = draw_response(ontology, rng, options.samples)
    root, t = ontology.graph["root"], (t - t.mean()) / t.std()
    held = rng.permutation(len(X)) < len(X) // 4
    net = gb.Network(visible_network(ontology, genes, options.units, options.seed), error="sum_of_squares")
    print(f"{len(ontology):,} terms, {len(genes):,} genes, {net.n_parameters:,} parameters, backend {net.backend}")
    print(f"{(~held).sum():,} samples to learn from, {held.sum():,} held out")

    T = np.repeat(t[:, None], len(net.outputs), axis=1)  # every head predicts the same response
    history = gb.train(
        net,
        X[~held],
        T[~held],
        optimizer="adam",
        learning_rate=0.01,
        batch_size=50,
        epochs=options.epochs,
        l2=1e-3,
        validation=(X[held], T[held]),
        patience=8,
        seed=options.seed,
        progress=True,
    )
    print(str(history).splitlines()[0])

    flow = arriving(net, ontology, X[held])
    E = {term: history.heads[head(term)][history.best_epoch - 1] for term in ontology}
    told = tell(ontology, E, {term: flow.get(("genes", term), 0.0) for term in ontology}, planted, options.folder)
    posterior, prediction = sure_at(root, net, X, t, held)
    inside = np.abs(prediction.mean[:, 0] - t[held]) < 2 * prediction.total_variance[:, 0] ** 0.5
    print(f"\n{posterior}")
    print(f"root: E {E[root]:.3f} held out (1/2 is chance); {inside.mean():.1%} of the responses within two standard deviations")
    draw(options.folder / "picture.png", ontology, flow, history, (told, planted), (prediction, t[held]))
    history.save(options.folder / "history.csv")
    net.save(options.folder / "model.json")
    print(f"picture.png, terms.csv, history.csv and model.json are in {options.folder}")


if __name__ == "__main__":
    main()
