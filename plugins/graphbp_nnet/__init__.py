"""Fully connected ReLU networks from .nnet files (ACAS Xu; github.com/sisl/NNet), as graphs of layer nodes.

    gb.load("TestNetwork.nnet")                    raw inputs in, raw outputs out
    gb.load("TestNetwork.nnet", normalise=False)   the trained network alone, on normalised inputs and outputs

A file holds the layers and, for each input, a mean and a range (one more of each for all outputs) with which the network was
trained: it sees (x − mean) / range, and its outputs are multiplied by their range and shifted by their mean.  The graph has these as
two frozen layers around the trained ones, so that X and Y are in the file's own units and every trained weight is the file's, to the
last digit:

    x ─► x_normalised ─► h1 ─► ... ─► y_normalised ─► y          (x ─► h1 ─► ... ─► y where mean = 0 and range = 1)

These two are frozen because they are constants of the file, not weights; the layers between them are trainable.  They are layers, not
`shift` and `scale` of the input and output nodes, so that E and its derivatives are those of the raw outputs (with normalise=False and
`shift`, `scale` set by hand they are of the scaled ones).

What the file gives as the least and greatest value of each input stands on the node "x" as `minimum` and `maximum`.  Other readers
clip to these before the network; clipping is not part of the network and not done here: np.clip(X, minimum, maximum) does it.
"""

from graphbp_nnet.exporter import holds, scaling, write
from graphbp_nnet.importer import description, read, sniff, suffixes

__all__ = ["description", "holds", "read", "scaling", "sniff", "suffixes", "write"]
