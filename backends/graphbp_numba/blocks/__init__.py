"""First order on networks of many small blocks of weights, and of small batches on stacks of layers: one sweep a tile, a block at a time."""
