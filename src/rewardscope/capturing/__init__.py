"""Hidden states of a model at the kept positions of traces."""
