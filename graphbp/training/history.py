"""What a training run was: error by epoch, and why it ended."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from graphbp.exceptions import NotSupportedError
from graphbp.files.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["History"]


_HEADS, _LINES = 4, 8
"""Heads that the printed table has columns for, at most, and those of the largest error that the plot has lines for."""


@dataclass
class History:
    """Error by epoch: `history.error[-1]`; `print(history)` is a table.

    Attributes
    ----------
    optimizer : its name.
    epoch : 1, 2, ...; every other list has the same length.
    error : Σ_n s_n E_n / Σ_n s_n of the training set, without any penalty.  For sgd and adam each batch is counted with the
        weights it met, as the epoch went on; for the others the error at the end of the epoch.
    validation_error : the same of the validation set at the end of the epoch; empty where there is none.
    heads : output node → its mean error at the end of the epoch, without the weight of its error, over the targets that it has; on the
        validation set where there is one, else on the training set.  Empty where all outputs share one error and no target is missing.
    metrics : name → values at the end of the epoch, on the validation set where there is one, else on the training set.
    seconds : wall time since the run began, earlier parts of a resumed run included.
    reason : why it ended.
    best_epoch : the epoch with the lowest validation error (lowest error where there is no validation set), 0 before the first.
    restored : the network has the weights of `best_epoch`, not those of the last epoch.
    state : what the optimizer remembers after the last epoch; `gb.train(..., state=history.state)` goes on with that of sgd and adam.
    """

    optimizer: str
    epoch: list[int] = field(default_factory=list)
    error: list[float] = field(default_factory=list)
    validation_error: list[float] = field(default_factory=list)
    heads: dict[str, list[float]] = field(default_factory=dict)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    reason: str = ""
    best_epoch: int = 0
    restored: bool = False
    state: dict[str, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.epoch)

    @property
    def monitored(self) -> list[float]:
        """What patience watches: the validation error where there is one, else the error."""
        return self.validation_error or self.error

    def columns(self) -> dict[str, list[Any]]:
        """name → one value an epoch, in the order of the table; "error of NAME" for each head."""
        validation = {"validation_error": self.validation_error} if self.validation_error else {}
        heads = {f"error of {name}": values for name, values in self.heads.items()}
        return {"epoch": self.epoch, "error": self.error, **validation, **heads, **self.metrics, "seconds": self.seconds}

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain lists, numbers and strings (JSON takes it)."""
        return {
            "optimizer": self.optimizer,
            "reason": self.reason,
            "best_epoch": self.best_epoch,
            "restored": self.restored,
            **{name: list(values) for name, values in self.columns().items()},
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the columns as CSV, whole or not at all."""
        columns = self.columns()
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        write_atomically(path, text.getvalue().encode())

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Error by epoch on a logarithmic scale, as a Matplotlib figure; saved where `path` is given."""
        try:
            from matplotlib.figure import Figure
        except ImportError as problem:
            raise NotSupportedError(
                'history.plot draws with Matplotlib, which is not installed: pip install "graphbp[plot]"'
            ) from problem
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        axes.plot(self.epoch, self.error, label="training")
        if self.validation_error:
            axes.plot(self.epoch, self.validation_error, label="validation")
        for name in sorted(self.heads, key=lambda name: -self.heads[name][-1] if self.heads[name] else 0.0)[:_LINES]:
            axes.plot(self.epoch, self.heads[name], linewidth=0.8, label=name)
        if self.best_epoch:
            axes.axvline(self.best_epoch, color="0.6", linewidth=0.8, linestyle=":", label=f"best epoch ({self.best_epoch})")
        if self.error and min(self.monitored + self.error) > 0:
            axes.set_yscale("log")
        axes.set_xlabel("epoch")
        axes.set_ylabel("mean error $E_n$")
        axes.set_title(self.optimizer)
        axes.legend(frameon=False)
        if path is not None:
            figure.savefig(path)
        return figure

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the run."""
        return self.reason.startswith("interrupted")

    def __str__(self) -> str:
        best = f"; best epoch {self.best_epoch}" + (" (restored)" if self.restored else "") if self.best_epoch else ""
        took = f" in {self.seconds[-1]:.1f} s" if self.seconds else ""
        head = f"{self.optimizer}: {len(self)} epochs{took}; {self.reason}{best}"
        return "\n".join([head, *self._table()])

    def _table(self, rows: int = 12) -> list[str]:
        columns = self.columns()
        if len(self.heads) > _HEADS:
            columns = {name: values for name, values in columns.items() if name.removeprefix("error of ") not in self.heads}
        lines = ["  ".join(f"{name:>16s}" for name in columns)] if self.epoch else []
        for i, row in enumerate(zip(*columns.values(), strict=True)):
            if len(self) > rows and i == rows // 2:
                lines.append(f"{'...':>16s}")
            if len(self) <= rows or i < rows // 2 or i >= len(self) - rows // 2:
                lines.append("  ".join(f"{value:16d}" if isinstance(value, int) else f"{value:16.6g}" for value in row))
        return lines
