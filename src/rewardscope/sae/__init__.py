"""Sparse autoencoders on captured states."""
