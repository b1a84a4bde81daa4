"""The small models that ship with the project: where they are and how they are made."""
