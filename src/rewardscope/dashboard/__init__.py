"""Result pages that open from disk."""
