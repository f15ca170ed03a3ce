"""Distributed data federation for multi-site dataset registries.

>>> import federation
>>> with federation.connect("ncsa", sites="sites") as session:  # doctest: +SKIP
...     for row in session.query("SELECT instrument, count(*) AS n FROM raw GROUP BY instrument"):
...         print(row)

``connect`` and ``open_snapshot`` give a `Session`; the other verbs are those of the command line. Every error is one
of `federation.errors`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from federation import errors

if TYPE_CHECKING:
    from federation.api import (
        Session,
        connect,
        ingest,
        open_snapshot,
        replicate,
        site_status,
        verify_replica,
    )
    from federation.butler_verbs import export_butler, import_butler, read_butler
    from federation.cache_verbs import (
        cache_paths,
        cache_status,
        expire_cache,
        pin_cached,
        run_cache,
        unpin_cached,
    )
    from federation.collection_verbs import (
        certify_datasets,
        chain_collections,
        create_collection,
        decertify_datasets,
        find_calibrations,
        list_collections,
        remove_collection,
        show_collection,
        tag_datasets,
        untag_datasets,
    )
    from federation.conflict_verbs import list_conflicts, resolve_conflict
    from federation.consistency_verbs import positions
    from federation.execution.result import Result
    from federation.history_verbs import backup_site, forget_replica, restore_site, site_log
    from federation.migration_verbs import migrate_registry
    from federation.object_verbs import get, get_file, put
    from federation.provenance_verbs import (
        dataset_provenance,
        downstream,
        metric_names,
        put_metrics,
        record_activities,
        upstream,
    )
    from federation.query_log_verbs import site_queries
    from federation.repair_verbs import repair_replica
    from federation.retirement_verbs import list_retired, purge_retired, restore_retired, retire_datasets
    from federation.schema_verbs import (
        add_group_member,
        append_table,
        create_schema,
        create_table,
        describe_table,
        drop_schema,
        drop_table,
        grant,
        list_proposals,
        list_schemas,
        list_tables,
        promote_table,
        propose_table,
        remove_group_member,
        retire_table,
        review_table,
        revoke,
        schema_felis,
        show_table,
    )
    from federation.security_verbs import (
        init_authority,
        issue_certificate,
        issue_token,
        list_tokens,
        revoke_token,
        token_public_key,
    )
    from federation.site_verbs import init_site, serve
    from federation.snapshot.options import ClosureOptions
    from federation.snapshot_verbs import (
        create_snapshot,
        diff_snapshots,
        export_snapshot,
        extend_snapshot,
        fetch_files,
        refresh_snapshot,
        verify_snapshot,
    )
    from federation.transfer_verbs import transfer
    from federation.watch_verbs import watch

__all__ = [
    "ClosureOptions",
    "Result",
    "Session",
    "add_group_member",
    "append_table",
    "backup_site",
    "cache_paths",
    "cache_status",
    "certify_datasets",
    "chain_collections",
    "connect",
    "create_collection",
    "create_schema",
    "create_snapshot",
    "create_table",
    "dataset_provenance",
    "decertify_datasets",
    "describe_table",
    "diff_snapshots",
    "downstream",
    "drop_schema",
    "drop_table",
    "errors",
    "expire_cache",
    "export_butler",
    "export_snapshot",
    "extend_snapshot",
    "fetch_files",
    "find_calibrations",
    "forget_replica",
    "get",
    "get_file",
    "grant",
    "import_butler",
    "ingest",
    "init_authority",
    "init_site",
    "issue_certificate",
    "issue_token",
    "list_collections",
    "list_conflicts",
    "list_proposals",
    "list_retired",
    "list_schemas",
    "list_tables",
    "list_tokens",
    "metric_names",
    "migrate_registry",
    "open_snapshot",
    "pin_cached",
    "positions",
    "promote_table",
    "propose_table",
    "purge_retired",
    "put",
    "put_metrics",
    "read_butler",
    "record_activities",
    "refresh_snapshot",
    "remove_collection",
    "remove_group_member",
    "repair_replica",
    "replicate",
    "resolve_conflict",
    "restore_retired",
    "restore_site",
    "retire_datasets",
    "retire_table",
    "review_table",
    "revoke",
    "revoke_token",
    "run_cache",
    "schema_felis",
    "serve",
    "show_collection",
    "show_table",
    "site_log",
    "site_queries",
    "site_status",
    "tag_datasets",
    "token_public_key",
    "transfer",
    "unpin_cached",
    "untag_datasets",
    "upstream",
    "verify_replica",
    "verify_snapshot",
    "watch",
]

#: where a name comes from that is not in `federation.api`
_MODULES = {
    "ClosureOptions": "federation.snapshot.options",
    "Result": "federation.execution.result",
    "add_group_member": "federation.schema_verbs",
    "append_table": "federation.schema_verbs",
    "backup_site": "federation.history_verbs",
    "cache_paths": "federation.cache_verbs",
    "cache_status": "federation.cache_verbs",
    "certify_datasets": "federation.collection_verbs",
    "chain_collections": "federation.collection_verbs",
    "create_collection": "federation.collection_verbs",
    "create_schema": "federation.schema_verbs",
    "create_snapshot": "federation.snapshot_verbs",
    "create_table": "federation.schema_verbs",
    "dataset_provenance": "federation.provenance_verbs",
    "decertify_datasets": "federation.collection_verbs",
    "describe_table": "federation.schema_verbs",
    "diff_snapshots": "federation.snapshot_verbs",
    "downstream": "federation.provenance_verbs",
    "drop_schema": "federation.schema_verbs",
    "drop_table": "federation.schema_verbs",
    "expire_cache": "federation.cache_verbs",
    "export_butler": "federation.butler_verbs",
    "export_snapshot": "federation.snapshot_verbs",
    "extend_snapshot": "federation.snapshot_verbs",
    "fetch_files": "federation.snapshot_verbs",
    "find_calibrations": "federation.collection_verbs",
    "forget_replica": "federation.history_verbs",
    "get": "federation.object_verbs",
    "get_file": "federation.object_verbs",
    "grant": "federation.schema_verbs",
    "import_butler": "federation.butler_verbs",
    "init_authority": "federation.security_verbs",
    "init_site": "federation.site_verbs",
    "issue_certificate": "federation.security_verbs",
    "issue_token": "federation.security_verbs",
    "list_collections": "federation.collection_verbs",
    "list_conflicts": "federation.conflict_verbs",
    "list_proposals": "federation.schema_verbs",
    "list_retired": "federation.retirement_verbs",
    "list_schemas": "federation.schema_verbs",
    "list_tables": "federation.schema_verbs",
    "list_tokens": "federation.security_verbs",
    "metric_names": "federation.provenance_verbs",
    "migrate_registry": "federation.migration_verbs",
    "pin_cached": "federation.cache_verbs",
    "positions": "federation.consistency_verbs",
    "promote_table": "federation.schema_verbs",
    "propose_table": "federation.schema_verbs",
    "purge_retired": "federation.retirement_verbs",
    "put": "federation.object_verbs",
    "put_metrics": "federation.provenance_verbs",
    "read_butler": "federation.butler_verbs",
    "record_activities": "federation.provenance_verbs",
    "refresh_snapshot": "federation.snapshot_verbs",
    "remove_collection": "federation.collection_verbs",
    "remove_group_member": "federation.schema_verbs",
    "repair_replica": "federation.repair_verbs",
    "resolve_conflict": "federation.conflict_verbs",
    "restore_retired": "federation.retirement_verbs",
    "restore_site": "federation.history_verbs",
    "retire_datasets": "federation.retirement_verbs",
    "retire_table": "federation.schema_verbs",
    "review_table": "federation.schema_verbs",
    "revoke": "federation.schema_verbs",
    "revoke_token": "federation.security_verbs",
    "run_cache": "federation.cache_verbs",
    "schema_felis": "federation.schema_verbs",
    "serve": "federation.site_verbs",
    "show_collection": "federation.collection_verbs",
    "show_table": "federation.schema_verbs",
    "site_log": "federation.history_verbs",
    "site_queries": "federation.query_log_verbs",
    "tag_datasets": "federation.collection_verbs",
    "token_public_key": "federation.security_verbs",
    "transfer": "federation.transfer_verbs",
    "unpin_cached": "federation.cache_verbs",
    "untag_datasets": "federation.collection_verbs",
    "upstream": "federation.provenance_verbs",
    "verify_snapshot": "federation.snapshot_verbs",
    "watch": "federation.watch_verbs",
}


def __getattr__(name: str) -> Any:
    # loaded when first used: the database and Arrow libraries take most of a second
    if name not in __all__:
        raise AttributeError(f"module 'federation' has no attribute {name!r}")
    value = getattr(import_module(_MODULES.get(name, "federation.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
