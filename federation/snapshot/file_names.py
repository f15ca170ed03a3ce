"""The file by which a directory is known as a snapshot; by itself, since whoever connects looks for it first."""

__all__ = ["FILE_NAME"]

FILE_NAME = "snapshot.json"
