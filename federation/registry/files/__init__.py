"""Files as datasets: what they are about, where they go, and back into memory."""
