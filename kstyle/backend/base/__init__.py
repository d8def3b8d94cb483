"""What the seam is made of that needs nothing of it: what torch computes in few kernels, what other programs take."""
