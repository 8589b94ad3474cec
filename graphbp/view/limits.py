"""How much a page takes: a browser has to hold it, and a person to load it.  What does not fit is left out and said, never cut in silence."""

from __future__ import annotations

__all__ = [
    "CURVATURE_COST",
    "CURVATURE_NUMBERS",
    "DIFFERENCE_COST",
    "DIFFERENCE_NUMBERS",
    "LEVEL_COST",
    "MOST_EDGES",
    "MOST_NODES",
    "SAMPLES",
    "SWEEP_NUMBERS",
    "WEIGHTS",
]

SAMPLES = 200
"""Samples of a page, at most."""
SWEEP_NUMBERS = 150_000
"""Units × samples: a, z, δ, h' and β have a number for each, 8 bytes and a third more as text."""
WEIGHTS = 200_000
"""Weights and biases whose values stand in the page; of more, the largest edges between layers are left out."""
MOST_NODES, MOST_EDGES = 20_000, 200_000
"""Nodes and edges of the graph beyond which no page is made."""
CURVATURE_NUMBERS = 100_000
"""Numbers of G, and of B."""
CURVATURE_COST = 30_000_000
"""Samples × units × edges that G and B may cost: some seconds."""
DIFFERENCE_NUMBERS = 120_000
"""Values of E at moved weights."""
LEVEL_COST = 15
"""What a level costs the definition's sweep, where a row costs 1: some 3 µs."""
DIFFERENCE_COST = 1_300_000
"""Of all sweeps with moved weights: some seconds."""
