"""PRM-guided search."""
