"""A cache site: takes in files as they arrive, hands them out, and lets go what is kept for good elsewhere."""
