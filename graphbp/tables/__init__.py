"""Tables with named columns, and which of their columns a network reads: pandas, polars, PyArrow, structured arrays, dicts, CSV files.

    whatever came ──table_of──► Table: names, columns, how a row is called ──inputs_of──► X (N, D)
                                                                           └─targets_of─► T

Columns are matched to input nodes by name, in any order.  What is missing is refused, and so is what is left over: a table of something
else must not be read.  A table none of whose names is an input's is taken by position, with a warning, where the count agrees.

Numbers are taken in whatever form they come (booleans, nullable and categorical columns, decimals); text, dates and missing values are
refused, naming the column and the row as the user sees them.  No library is imported here: an object of one brings its own methods.
Other data frames (Modin, cuDF, ...) are read through narwhals where it is installed.

    frames    a library's object becomes a Table, and values a frame of its kind
    matching  names of columns ↔ names of inputs and outputs
    values    numbers and labels in a column
    table     Table and Column
"""

from __future__ import annotations

from graphbp.tables.frames import like_frame, loose_table, refuse_other_order, table_of
from graphbp.tables.matching import by_position, extra_columns, index_columns, match, surplus, warn_of_surplus
from graphbp.tables.table import Column, Table
from graphbp.tables.values import cells, labels_of, number_in, numbers_of, stacked

__all__ = [
    "Column",
    "Table",
    "by_position",
    "cells",
    "extra_columns",
    "index_columns",
    "labels_of",
    "like_frame",
    "loose_table",
    "match",
    "number_in",
    "numbers_of",
    "refuse_other_order",
    "stacked",
    "surplus",
    "table_of",
    "warn_of_surplus",
]
