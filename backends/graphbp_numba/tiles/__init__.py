"""First order on tiles of samples."""
