"""What a run has to do: its shards, and which of its stages must run again."""
