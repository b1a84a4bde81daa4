"""How good an SAE is, and what it keeps of the rewards."""
