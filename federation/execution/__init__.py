"""Queries at work: fragments at the sites that hold the tables, and the coordinator that asks them."""
