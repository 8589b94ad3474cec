"""Operations for kernels, given as LLVM IR: rows, gathers, sums over samples, matrix products."""
