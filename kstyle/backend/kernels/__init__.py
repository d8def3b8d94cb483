"""What the seam computes on torch in few kernels."""
