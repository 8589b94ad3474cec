"""Everything that a backend, an importer or any other plugin may import from the core, in one place.

Plugins and backends import only this module: what is here is kept stable, what is not here may change.

* A backend: `Backend`, `Executable`, `FullExecutable`, `Availability`, `TraceArrays`; the program to run is a `Schedule`
  (`Level`, `DenseBlock`, `Segment`, `ParameterMap`), the formulas are `Activation`, `ErrorFunction`, and `HeadGroup` /
  `head_groups` where they meet.  `graphbp.testing` checks it.  An entry point in `graphbp.backends` makes it known;
  `register_backend` and `unregister_backend` do and undo the same inside one program.  One that wraps another has it by `get_backend`,
  and `Composed` fills in what an executable leaves out.
  One with an attribute `combinations = True` is given nodes that multiply and choose too: `Schedule.combinations`, whose kinds the table
  `COMBINATIONS` has, and `Schedule.combined`, the same by runs of a level (`CombinationRun`).
* Hessians: a backend gives `SecondOrderSweeps`, which fill a `SampleTile` and its `ColumnTile`s; `assemble_hessian`,
  `assemble_diagonal` and `assemble_unit_blocks` do the rest; one with a faster way to the diagonal gives `OwnCurvature`, one
  with faster products of its own `OwnAssembly` (`graphbp.second_order.tiles` has the contracts).
* An activation or error function: `register_activation`, `register_error_function`, called from the function that the entry point
  (`graphbp.activations`, `graphbp.error_functions`) names.  An activation's `Tails` keep errors right at saturated outputs, and
  `pair_of` says what they make of an error there.
* A file format: an `Importer` and an `Exporter` (objects or modules), named by entry points in `graphbp.importers` and
  `graphbp.exporters`.  Raise `FileFormatError` for a damaged file and `NotSupportedError` for what the format has and graphbp has
  not.  For an importer, `read_text` gives a regular file's text, `parse_json` what its bytes say; for an exporter, `read_graph` gives
  the checked graph as arrays, `write_atomically` puts a file there whole or not at all, and `Holds` says what the format can hold.
  One that says `scaling = True` finds `shift` and `scale` on input and output nodes; for others they are folded into the weights.
"""

from __future__ import annotations

from graphbp.activations import Activation, activation_table, get_activation, register_activation
from graphbp.aggregation import AGGREGATIONS
from graphbp.combinations import COMBINATIONS, Combination, CombinationRun, Combinations
from graphbp.compose import Composed
from graphbp.config import option
from graphbp.error_functions import ErrorFunction, Pair, error_table, get_error_function, pair_of, register_error_function
from graphbp.exceptions import (
    BackendError,
    BackendNotAvailableError,
    DataError,
    FileFormatError,
    GraphbpError,
    GraphError,
    MemoryLimitError,
    NotSupportedError,
    WeightError,
)
from graphbp.files.atomic import write_atomically
from graphbp.files.contents import Holds
from graphbp.files.reading import parse_json, read_file, read_start, read_text
from graphbp.folding import fold_scaling
from graphbp.graph import read_graph
from graphbp.heads import HeadGroup, head_groups
from graphbp.jacobian import inputs_of_rows, outputs_of_rows
from graphbp.levels import DenseBlock, Level, Segment
from graphbp.memory import check_memory
from graphbp.mixture import AnyError, Mixture, error_at
from graphbp.parameters import ParameterMap
from graphbp.progress import status
from graphbp.protocols import (
    WEIGHTED_METHODS,
    Availability,
    Backend,
    Executable,
    Exporter,
    FullExecutable,
    Importer,
    TraceArrays,
)
from graphbp.registry import get_backend, register_backend, unregister_backend
from graphbp.schedule import Schedule
from graphbp.second_order.assembly import HessianAccumulator
from graphbp.second_order.by_inputs import add_heads
from graphbp.second_order.hessian import assemble_diagonal, assemble_hessian, assemble_unit_blocks, curvature_by_columns
from graphbp.second_order.moving_inputs import LINEAR
from graphbp.second_order.plan import Group, HessianPlan
from graphbp.second_order.rows import output_rows, weigh_rows
from graphbp.second_order.tiles import (
    ColumnTile,
    OutputCurvature,
    OutputRows,
    OwnAssembly,
    OwnCurvature,
    SampleTile,
    SecondOrderSweeps,
)
from graphbp.spec import HIDDEN, INPUT, OUTPUT, GraphSpec
from graphbp.tails import Tails
from graphbp.threads import n_threads, run_tasks, single_threaded_blas

__all__ = [
    "AGGREGATIONS",
    "COMBINATIONS",
    "HIDDEN",
    "INPUT",
    "LINEAR",
    "OUTPUT",
    "WEIGHTED_METHODS",
    "Activation",
    "AnyError",
    "Availability",
    "Backend",
    "BackendError",
    "BackendNotAvailableError",
    "ColumnTile",
    "Combination",
    "CombinationRun",
    "Combinations",
    "Composed",
    "DataError",
    "DenseBlock",
    "ErrorFunction",
    "Executable",
    "Exporter",
    "FileFormatError",
    "FullExecutable",
    "GraphError",
    "GraphSpec",
    "GraphbpError",
    "Group",
    "HeadGroup",
    "HessianAccumulator",
    "HessianPlan",
    "Holds",
    "Importer",
    "Level",
    "MemoryLimitError",
    "Mixture",
    "NotSupportedError",
    "OutputCurvature",
    "OutputRows",
    "OwnAssembly",
    "OwnCurvature",
    "Pair",
    "ParameterMap",
    "SampleTile",
    "Schedule",
    "SecondOrderSweeps",
    "Segment",
    "Tails",
    "TraceArrays",
    "WeightError",
    "activation_table",
    "add_heads",
    "assemble_diagonal",
    "assemble_hessian",
    "assemble_unit_blocks",
    "check_memory",
    "curvature_by_columns",
    "error_at",
    "error_table",
    "fold_scaling",
    "get_activation",
    "get_backend",
    "get_error_function",
    "head_groups",
    "inputs_of_rows",
    "n_threads",
    "option",
    "output_rows",
    "outputs_of_rows",
    "pair_of",
    "parse_json",
    "read_file",
    "read_graph",
    "read_start",
    "read_text",
    "register_activation",
    "register_backend",
    "register_error_function",
    "run_tasks",
    "single_threaded_blas",
    "status",
    "unregister_backend",
    "weigh_rows",
    "write_atomically",
]
