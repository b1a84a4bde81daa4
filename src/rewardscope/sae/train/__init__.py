"""Train SAEs: one pass over the rows, no graph."""
