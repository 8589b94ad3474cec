"""A schedule as the flat arrays that the kernels interpret, and the names of the places in them."""
