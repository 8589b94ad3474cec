"""Quantities for which every row of a tile is kept."""
