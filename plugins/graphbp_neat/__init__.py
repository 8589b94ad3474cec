"""Networks that neat-python evolved, from the JSON that its `neat.export.export_network_json` writes, as graphs.

    gb.load("winner.json")

A neat-python unit is z = act(bias + response · agg_i(w_i z_i)), agg any of its sum, product, max, min, mean, median and maxabs.  The
graph has the same units under the same integer names, with the response multiplied into the weights (of a product, into the first; a
negative one makes a max a min); disabled connections are left out.  Activations are neat-python's own, with the slopes and the
limits it gives them ("neat.sigmoid" is 1 / (1 + exp(−5a))).

A file that is written numbers the nodes as neat-python does; a unit without a bias has one of 0 there.

Refused by name: recurrent, CTRNN and spiking networks; aggregations and activations that a user added.
"""

from graphbp_neat.exporter import holds, write
from graphbp_neat.importer import advice, description, read, sniff, suffixes

__all__ = ["advice", "description", "holds", "read", "sniff", "suffixes", "write"]
