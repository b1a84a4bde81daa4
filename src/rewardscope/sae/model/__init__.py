"""A trained SAE: its weights, how it encodes, where it is kept."""
