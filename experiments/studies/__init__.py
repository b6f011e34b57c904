"""Studies: many settings, each trained by the entry script, and a table of what came out."""
