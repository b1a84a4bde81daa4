"""Files on disk: rows of generations, shards of activations, tables. Every write is atomic."""
