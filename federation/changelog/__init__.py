"""Change logs: appended in the transaction that changes the rows, numbered in commit order, encoded once."""

from federation.changelog.codec import SCHEMA_VERSION, chain_hash, decode_changes, digest_of, encode_changes
from federation.changelog.entries import read_entries
from federation.changelog.log import LogState, append, create_log, entry_chain, log_state, move_to
from federation.changelog.sequencer import stamp

__all__ = [
    "SCHEMA_VERSION",
    "LogState",
    "append",
    "chain_hash",
    "create_log",
    "decode_changes",
    "digest_of",
    "encode_changes",
    "entry_chain",
    "log_state",
    "move_to",
    "read_entries",
    "stamp",
]
