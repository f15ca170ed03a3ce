"""Distributed data federation for multi-site dataset registries."""
