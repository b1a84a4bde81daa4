"""What becomes of scores when states are changed: edits, runs under edits, controls."""
