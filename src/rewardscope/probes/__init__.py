"""Linear probes on captured states."""
