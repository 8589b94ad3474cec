"""A page that steps through the two sweeps of a network, unit by unit, with the numbers in the formulas.

    net, X, T ──`view`──► structure, sweeps, curvature, differences ──► a document ──`page_of`──► View: one HTML file

=============  ==================================================================================================
`structure`    nodes by level, edges, the values of their weights
`sweeps`       a, z, δ of `net.trace`; h', β and the errors beside them
`curvature`    G and B, by the engine: a perturbation of a_j is a bias
`differences`  E at weights moved by ±ε
`page`         the document as JSON that is safe in HTML, the template, the assets
`limits`       how much a page takes
`assets`       template, styles and script; cytoscape.js and dagre, which draw (MIT, `assets/LICENSES.txt`)
=============  ==================================================================================================

The script multiplies and adds what it shows and draws; activations and errors it leaves to the numbers that it was given.  A quantity
that does not fit is left out by name: `View.notes` says so, and so does the page.
"""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

import numpy as np

from graphbp.exceptions import DataError, shown
from graphbp.files.atomic import write_atomically
from graphbp.view.curvature import curvature_of
from graphbp.view.differences import differences_of
from graphbp.view.limits import SAMPLES, SWEEP_NUMBERS
from graphbp.view.page import page_of
from graphbp.view.structure import structure_of
from graphbp.view.sweeps import Samples, sweeps_of

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["View", "view"]

HEIGHT = 760
"""Pixels of the frame in a notebook."""


@dataclass(frozen=True)
class View:
    """A page about a network: `save` writes it, a notebook shows it, `html` is its text.

    document : what the page is made of, a plain dictionary with NumPy arrays.
    notes : what was left out, and why.
    """

    document: dict[str, Any] = field(repr=False)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, and why."""
        return tuple(self.document["notes"])

    @property
    def html(self) -> str:
        """The whole page; it loads nothing."""
        return page_of(self.document)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the page to `path`, an .html file.  Raises `DataError`."""
        if not isinstance(path, str | PathLike) or not fspath(path).lower().endswith((".html", ".htm")):
            raise DataError(f"path={shown(path)}; the page is written as .html")
        write_atomically(path, self.html.encode())

    def __repr__(self) -> str:
        d = self.document
        return f"<graphbp.view.View: {len(d['nodes'])} nodes, {len(d['src'])} edges, {d['n_samples']} samples; .save('view.html')>"

    def _repr_html_(self) -> str:
        """The page in a frame of its own, which may run its script and reach nothing of the notebook's."""
        title = html.escape(f"graphbp: {self.document['title']}")
        return (
            f'<iframe title="{title}" sandbox="allow-scripts" style="width:100%;height:{HEIGHT}px;border:0" '
            f'srcdoc="{html.escape(self.html)}"></iframe>'
        )


def view(net: Network, X: Any, T: Any, sample_weight: Any = None, *, title: str | None = None) -> View:
    """A page that steps through the sweeps of `net` on the samples (X, T).  See `Network.view`."""
    if title is not None and not isinstance(title, str):
        raise DataError(f"title={shown(title)}; it must be text")
    samples, notes = _samples(net, X, T, sample_weight)
    structure, sweeps = structure_of(net), sweeps_of(net, samples)
    curvature, left_of_curvature = curvature_of(net, samples)
    differences, left_of_differences = differences_of(net, samples)
    schedule = net.schedule
    document = {
        "title": title or f"{schedule.n_inputs} inputs, {schedule.n_outputs} outputs, {net.n_parameters} parameters",
        "about": {
            "error": net.error_function.name,
            "dtype": net.dtype.name,
            "backend": net.backend,
            "parameters": net.n_parameters,
        },
        "n_samples": len(samples.X),
        **{key: value for key, value in vars(structure).items() if key != "notes"},
        **{key: np.ascontiguousarray(value.T) if isinstance(value, np.ndarray) else value for key, value in vars(sweeps).items()},
        "output_units": _units(net, structure.first),
        "curvature": None if curvature is None else vars(curvature),
        "differences": None if differences is None else vars(differences),
        "notes": [*notes, *structure.notes, *left_of_curvature, *left_of_differences],
    }
    return View(document)


def _units(net: Network, first: Any) -> Any:
    """(K,) the unit of each output."""
    spec = net.model.spec
    nodes = [spec.index[name] for name in net.outputs]
    return np.concatenate([first[i] + np.arange(spec.units[i]) for i in nodes])


def _samples(net: Network, X: Any, T: Any, sample_weight: Any) -> tuple[Samples, list[str]]:
    """The samples of the page as arrays in the caller's units: as many as fit, the first ones; all of them are checked."""
    model = net.model
    model.batch(X, T, sample_weight)
    host = model.backend.to_numpy
    x, T, weight = (host(part) if model.backend.owns(part) else part for part in (X, T, sample_weight))
    x = np.asarray(model.read(x), np.float64)
    n = len(x)
    t = model.targets(T, sample_weight, n)[0]
    kept = min(n, SAMPLES, max(1, SWEEP_NUMBERS // max(1, int(model.spec.units.sum()))))
    weight = None if weight is None else np.asarray(weight)[:kept]
    notes = [] if kept == n else [f"the page holds the first {kept:,} of {n:,} samples"]
    return Samples(x[:kept], t[:kept], weight), notes
