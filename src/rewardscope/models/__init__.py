"""Where the parts of a transformer live, how models are loaded, hooks."""
