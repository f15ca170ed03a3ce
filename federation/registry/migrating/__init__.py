"""Registries of older formats: how they are read, and brought to this one."""
