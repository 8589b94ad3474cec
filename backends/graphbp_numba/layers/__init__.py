"""First order and products with Hessians by matrix products, for large dense blocks."""
