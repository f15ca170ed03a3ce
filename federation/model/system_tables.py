"""The logical tables that every schema has, whatever its universe and whatever was declared in it."""

from __future__ import annotations

from functools import lru_cache

from federation.model.logical import ORIGIN, LogicalType, Reference, TableDef, TableKind, column_def

__all__ = ["system_tables"]


@lru_cache(maxsize=1)
def system_tables() -> tuple[TableDef, ...]:
    """Their definitions, each after those it refers to."""
    return (*_collections(), *_datasets(), *_upkeep(), *_sharing())


def _collections() -> tuple[TableDef, ...]:
    """Dataset types, collections and what they hold."""
    t = LogicalType
    return (
        TableDef(
            "dataset_type",
            TableKind.SYSTEM,
            (
                column_def("name", t.STRING, "name of the dataset type", null=False, fixed=True),
                column_def(
                    "dimensions",
                    t.STRING,
                    "required and implied dimensions, comma-separated",
                    null=False,
                    fixed=True,
                ),
                column_def("storage_class", t.STRING, "what a dataset is in memory", null=False),
                column_def(
                    "is_calibration", t.BOOL, "may be certified with a validity range", null=False, fixed=True
                ),
                column_def(
                    "metadata", t.STRING, "metadata columns as name:type, comma-separated", null=False
                ),
            ),
            key=("name",),
            physical_name="dataset_type",
            doc="What kinds of dataset there are.",
        ),
        TableDef(
            "collection",
            TableKind.SYSTEM,
            (
                column_def("name", t.STRING, "name of the collection", null=False, fixed=True),
                column_def("type", t.STRING, "RUN, TAGGED, CHAINED or CALIBRATION", null=False, fixed=True),
                column_def("doc", t.STRING, "what it is for"),
                column_def("host", t.STRING, "host that made a RUN"),
                column_def("timespan_begin", t.TIMESTAMP, "when a RUN began (TAI)"),
                column_def("timespan_end", t.TIMESTAMP, "when a RUN ended (TAI)"),
            ),
            key=("name",),
            physical_name="collection",
            doc="Named sets of datasets.",
        ),
        TableDef(
            "collection_chain",
            TableKind.SYSTEM,
            (
                column_def("parent", t.STRING, "the CHAINED collection", null=False, fixed=True),
                column_def("position", t.INT64, "0 is searched first", null=False, fixed=True),
                column_def("child", t.STRING, "the collection searched at this position", null=False),
            ),
            key=("parent", "position"),
            physical_name="collection_chain",
            indexes=(("child",),),
            references=(
                Reference(("parent",), "collection", ("name",)),
                Reference(("child",), "collection", ("name",)),
            ),
            doc="Members of CHAINED collections, in search order.",
        ),
        TableDef(
            "dataset",
            TableKind.SYSTEM,
            (
                column_def("dataset_id", t.UUID, "identity of the dataset", null=False, fixed=True),
                column_def("dataset_type", t.STRING, "its dataset type", null=False, fixed=True),
                column_def("run", t.STRING, "the RUN collection it was made in", null=False, fixed=True),
                column_def("ingest_date", t.TIMESTAMP, "when the owner registered it (TAI)", null=False),
                ORIGIN,
            ),
            key=("dataset_id",),
            physical_name="dataset",
            indexes=(("run", "dataset_type"),),
            references=(
                Reference(("dataset_type",), "dataset_type", ("name",)),
                Reference(("run",), "collection", ("name",)),
            ),
            doc="Every dataset of every type.",
        ),
        TableDef(
            "collection_member",
            TableKind.SYSTEM,
            (
                column_def("collection", t.STRING, "the TAGGED collection", null=False, fixed=True),
                column_def("dataset_id", t.UUID, "a dataset in it", null=False, fixed=True),
                column_def("dataset_type", t.STRING, "its dataset type", null=False, fixed=True),
            ),
            key=("collection", "dataset_id"),
            physical_name="collection_member",
            indexes=(("dataset_id",),),
            references=(
                Reference(("collection",), "collection", ("name",)),
                Reference(("dataset_id",), "dataset", ("dataset_id",)),
            ),
            doc="Datasets of TAGGED collections (those of a RUN are in dataset.run).",
        ),
        TableDef(
            "calibration",
            TableKind.SYSTEM,
            (
                column_def("collection", t.STRING, "the CALIBRATION collection", null=False, fixed=True),
                column_def("dataset_id", t.UUID, "the certified dataset", null=False, fixed=True),
                column_def("dataset_type", t.STRING, "its dataset type", null=False, fixed=True),
                column_def("timespan_begin", t.TIMESTAMP, "first valid moment (TAI); NULL: unbounded"),
                column_def(
                    "timespan_end", t.TIMESTAMP, "first moment no longer valid (TAI); NULL: unbounded"
                ),
                column_def("validity_id", t.UUID, "identity of this validity range", null=False, fixed=True),
            ),
            key=("validity_id",),
            physical_name="calibration",
            indexes=(("collection", "dataset_type"), ("dataset_id",)),
            references=(
                Reference(("collection",), "collection", ("name",)),
                Reference(("dataset_id",), "dataset", ("dataset_id",)),
            ),
            doc="Validity ranges of certified calibrations.",
        ),
    )


def _datasets() -> tuple[TableDef, ...]:
    """What is said of datasets: what they were made from, their files, measurements."""
    t = LogicalType
    return (
        TableDef(
            "provenance",
            TableKind.SYSTEM,
            (
                column_def("dataset_id", t.UUID, "the dataset that was made", null=False, fixed=True),
                column_def("input_id", t.UUID, "a dataset it was made from", null=False, fixed=True),
                column_def("task", t.STRING, "what made it"),
            ),
            key=("dataset_id", "input_id"),
            physical_name="provenance",
            indexes=(("input_id",),),
            references=(
                Reference(("dataset_id",), "dataset", ("dataset_id",)),
                Reference(("input_id",), "dataset", ("dataset_id",)),
            ),
            doc="Which dataset was made from which.",
        ),
        TableDef(
            "artifact",
            TableKind.SYSTEM,
            (
                column_def("dataset_id", t.UUID, "the dataset whose file it is", null=False, fixed=True),
                column_def("site", t.STRING, "site whose datastore holds the file", null=False, fixed=True),
                column_def(
                    "uri", t.STRING, "absolute URL, or a path below that site's datastore", null=False
                ),
                column_def("size_bytes", t.INT64, "NULL where the file is not present", unit="byte"),
                column_def("checksum", t.STRING, "algorithm:hex; NULL where the file is not present"),
                column_def("formatter", t.STRING, "how the file is read; NULL: by its suffix"),
                column_def("present", t.BOOL, "whether the file is there", null=False),
            ),
            key=("dataset_id", "site"),
            physical_name="artifact",
            references=(Reference(("dataset_id",), "dataset", ("dataset_id",)),),
            doc="Files of datasets, and where they are.",
        ),
        TableDef(
            "activity",
            TableKind.SYSTEM,
            (
                column_def("activity_id", t.UUID, "identity of the activity", null=False, fixed=True),
                column_def("task", t.STRING, "what was run", null=False, fixed=True),
                column_def("version", t.STRING, "version of what was run"),
                column_def("run", t.STRING, "the RUN collection that its outputs are in"),
                column_def("timespan_begin", t.TIMESTAMP, "when it began (TAI)"),
                column_def("timespan_end", t.TIMESTAMP, "when it ended (TAI)"),
                column_def("host", t.STRING, "computer that ran it"),
                column_def("status", t.STRING, "how it ended"),
                column_def("parameters", t.STRING, "its configuration, as JSON"),
            ),
            key=("activity_id",),
            physical_name="activity",
            indexes=(("task",),),
            doc="Executions that made datasets from datasets.",
        ),
        TableDef(
            "activity_dataset",
            TableKind.SYSTEM,
            (
                column_def("activity_id", t.UUID, "the activity", null=False, fixed=True),
                column_def("dataset_id", t.UUID, "a dataset it read or wrote", null=False, fixed=True),
                column_def("role", t.STRING, "input or output", null=False, fixed=True),
            ),
            key=("activity_id", "dataset_id", "role"),
            physical_name="activity_dataset",
            indexes=(("dataset_id",),),
            references=(
                Reference(("activity_id",), "activity", ("activity_id",)),
                Reference(("dataset_id",), "dataset", ("dataset_id",)),
            ),
            doc="What activities read and wrote.",
        ),
        TableDef(
            "metric",
            TableKind.SYSTEM,
            (
                column_def("dataset_id", t.UUID, "the dataset that was measured", null=False, fixed=True),
                column_def("name", t.STRING, "what was measured", null=False, fixed=True),
                column_def("value", t.FLOAT64, "the number; NULL where the value is a text"),
                column_def("value_text", t.STRING, "the text; NULL where the value is a number"),
                column_def("unit", t.STRING, "unit of the number"),
            ),
            key=("dataset_id", "name"),
            physical_name="metric",
            indexes=(("name",),),
            references=(Reference(("dataset_id",), "dataset", ("dataset_id",)),),
            doc="Free key-value metrics of datasets.",
        ),
    )


def _upkeep() -> tuple[TableDef, ...]:
    """What the software keeps for itself: summaries and conflicts."""
    t = LogicalType
    return (
        TableDef(
            "collection_summary",
            TableKind.SYSTEM,
            (
                column_def("collection", t.STRING, "the collection", null=False, fixed=True),
                column_def("dataset_type", t.STRING, "a dataset type it holds", null=False, fixed=True),
                column_def("governor", t.STRING, "governor dimension; empty: none", null=False, fixed=True),
                column_def("value", t.STRING, "a value of it among those datasets", null=False, fixed=True),
            ),
            key=("collection", "dataset_type", "governor", "value"),
            physical_name="collection_summary",
            references=(Reference(("collection",), "collection", ("name",)),),
            doc="What a collection may hold; never too little.",
        ),
        TableDef(
            "conflict",
            TableKind.SYSTEM,
            (
                column_def("conflict_id", t.UUID, "identity of the conflict", null=False, fixed=True),
                column_def(
                    "dataset_id", t.UUID, "the identity that stands for two things", null=False, fixed=True
                ),
                column_def("dataset_type", t.STRING, "its dataset type", null=False, fixed=True),
                column_def("run", t.STRING, "its RUN collection", null=False, fixed=True),
                column_def("kind", t.STRING, "what differs: checksum or definition", null=False, fixed=True),
                column_def("recorded", t.STRING, "what is recorded", null=False),
                column_def("offered", t.STRING, "what was offered", null=False),
                column_def("uri", t.STRING, "where the offered content is or was"),
                column_def("site", t.STRING, "site that noticed", null=False),
                column_def("noticed", t.TIMESTAMP, "when (TAI)", null=False),
                column_def("resolution", t.STRING, "how it was resolved; NULL: open"),
            ),
            key=("conflict_id",),
            physical_name="conflict",
            indexes=(("dataset_id",),),
            doc="Different contents that were offered under one identity.",
        ),
    )


def _sharing() -> tuple[TableDef, ...]:
    """Users' tables, and who may do what."""
    t = LogicalType
    return (
        TableDef(
            "user_table",
            TableKind.SYSTEM,
            (
                column_def("name", t.STRING, "name of the table", null=False, fixed=True),
                column_def("definition", t.STRING, "columns with units and meanings, as JSON", null=False),
            ),
            key=("name",),
            physical_name="user_table",
            doc="Tables that users declared in this schema.",
        ),
        TableDef(
            "table_proposal",
            TableKind.SYSTEM,
            (
                column_def(
                    "owner", t.STRING, "schema that the table is proposed from", null=False, fixed=True
                ),
                column_def("name", t.STRING, "name of the table", null=False, fixed=True),
                column_def(
                    "state", t.STRING, "proposed, approved, rejected, promoted or retired", null=False
                ),
                column_def("comment", t.STRING, "what was said last"),
                column_def("digest", t.STRING, "digest of what was approved; NULL before that"),
                column_def("actor", t.STRING, "who did the last step", null=False),
                column_def("changed", t.TIMESTAMP, "when (TAI)", null=False),
            ),
            key=("owner", "name"),
            physical_name="table_proposal",
            doc="Users' tables on their way into the site's schema.",
        ),
        TableDef(
            "schema_grant",
            TableKind.SYSTEM,
            (
                column_def("schema_name", t.STRING, "name of the schema", null=False, fixed=True),
                column_def("grantee", t.STRING, "user or group", null=False, fixed=True),
                column_def("privilege", t.STRING, "read, write or share", null=False, fixed=True),
                column_def("grantor", t.STRING, "who granted it", null=False),
            ),
            key=("schema_name", "grantee", "privilege"),
            physical_name="schema_grant",
            doc="Who may do what with which schema of this site.",
        ),
        TableDef(
            "group_member",
            TableKind.SYSTEM,
            (
                column_def("group_name", t.STRING, "the group", null=False, fixed=True),
                column_def("member", t.STRING, "a user in it", null=False, fixed=True),
            ),
            key=("group_name", "member"),
            physical_name="group_member",
            doc="Groups of users, for grants.",
        ),
    )
