"""Reports over time: how runs of one thing differ by themselves, and what is more than that."""
