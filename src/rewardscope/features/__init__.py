"""What SAE features respond to."""
