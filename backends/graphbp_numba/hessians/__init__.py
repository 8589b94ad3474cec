"""The Numba side of the core's Hessians."""
