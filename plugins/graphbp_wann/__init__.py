"""Weight-agnostic networks: the .out files of google/brain-tokyo-workshop, as graphs.

    gb.load("swing.out", inputs=5, outputs=1)

A file is an n × (n + 1) table.  Entry (i, j) is the weight from node i to node j (NaN or 0: no connection); the last column numbers
the node's activation.  Node 0 is the bias, clamped at 1, then come the inputs, the hidden nodes in the order in which they are
evaluated, and the outputs.  The table does not say how many inputs and outputs there are, so `inputs=` and `outputs=` do, and are
checked against it.

In the graph a node has its number in the table as its name, and row 0 has become the biases.  A bias of 0 is written as −0: no
connection, the same function, to other readers.
"""

from graphbp_wann.exporter import write
from graphbp_wann.importer import description, read, sniff, suffixes

__all__ = ["description", "read", "sniff", "suffixes", "write"]
