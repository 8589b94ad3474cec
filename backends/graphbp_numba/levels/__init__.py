"""First order where samples fit one tile and levels are large: a level in parts."""
