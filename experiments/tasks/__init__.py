"""What a run learns: how a batch becomes a loss, and an evaluation a table."""
