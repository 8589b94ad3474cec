"""Machine code: Numba's decorators and cache, vectors in LLVM IR, formulas, C functions."""
