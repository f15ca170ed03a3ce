"""Which files are wanted at this site and not here, where each is to be had, and what it will be called."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs
import sqlalchemy as sa

from federation.config import FilePolicy
from federation.datastore import artifact_path
from federation.model.logical import TableKind
from federation.model.system_tables import system_tables
from federation.registry.transaction import select_rows

if TYPE_CHECKING:
    import uuid
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

__all__ = ["FileSource", "WantedFile", "chosen_files", "wanted_files"]

_SUFFIX = re.compile(r"(?:\.[A-Za-z0-9]{1,10}){1,2}\Z")
#: dataset ids in one statement
_IDS = 500
_CHOSEN = FilePolicy(("*",))


@attrs.frozen
class FileSource:
    """``site`` has the file at ``uri``."""

    site: str
    uri: str
    size_bytes: int | None
    checksum: str | None
    formatter: str | None


@attrs.frozen
class WantedFile:
    """A file to bring to ``target_path``, from the first of ``sources`` that has it right; ``policy`` wants it."""

    dataset_id: uuid.UUID
    dataset_type: str
    run: str
    target_path: str
    sources: tuple[FileSource, ...]
    policy: FilePolicy


def wanted_files(
    registry: Registry, held: HeldSchema, policies: Sequence[FilePolicy]
) -> dict[uuid.UUID, WantedFile]:
    """The files of a replica's datasets that policies want here, by dataset; those of higher priority come first."""
    plan = _Plan(registry, held)
    found: dict[uuid.UUID, WantedFile] = {}
    with registry.database.read([one.physical for one in plan.every]) as connection:
        for policy in sorted(policies, key=lambda policy: -policy.priority):
            for dataset_id, file in plan.by_policy(connection, policy).items():
                found.setdefault(dataset_id, file)
    return found


def chosen_files(
    registry: Registry, held: HeldSchema, ids: Collection[uuid.UUID]
) -> dict[uuid.UUID, WantedFile]:
    """The files of these datasets, as far as the schema has them, that are not here."""
    plan = _Plan(registry, held)
    todo, found = sorted(ids), {}
    with registry.database.read([one.physical for one in plan.every]) as connection:
        dataset = plan.table(held, "dataset")
        for start in range(0, len(todo), _IDS):
            condition = dataset.c.dataset_id.in_(todo[start : start + _IDS])
            found.update(plan.find(connection, _CHOSEN, condition))
    return found


class _Plan:
    """One look at the registry for the files of one schema's datasets."""

    def __init__(self, registry: Registry, held: HeldSchema) -> None:
        self._registry, self._held = registry, held
        self.every = registry.held()
        self._fixed = system_tables()

    def table(self, held: HeldSchema, name: str) -> sa.Table:
        return self._registry.physical_tables(held.physical, self._fixed)[name]

    def by_policy(self, connection: sa.Connection, policy: FilePolicy) -> Mapping[uuid.UUID, WantedFile]:
        """The files that one policy wants."""
        tables = self._registry.tables_in(connection, self._held.physical)
        types = [
            name
            for name, table in tables.items()
            if table.kind is TableKind.DATASET_TYPE and policy.covers(name, self._held.schema.site)
        ]
        if not types:
            return {}
        condition: sa.ColumnElement[bool] = self.table(self._held, "dataset").c.dataset_type.in_(types)
        if policy.collections:
            condition &= self._in_collections(connection, policy)
        return self.find(connection, policy, condition)

    def _in_collections(self, connection: sa.Connection, policy: FilePolicy) -> sa.ColumnElement[bool]:
        """Whether a dataset is in a collection that the policy names, or in one that such a chain leads to."""
        names: set[str] = set()
        chained: set[tuple[str, str]] = set()
        for held in self.every:
            collection, chain = self.table(held, "collection"), self.table(held, "collection_chain")
            names.update(
                name
                for name in connection.execute(sa.select(collection.c.name)).scalars()
                if policy.covers_collection(name)
            )
            chained.update(
                (parent, child)
                for parent, child in connection.execute(sa.select(chain.c.parent, chain.c.child))
            )
        todo = set(names)
        while todo:
            todo = {child for parent, child in chained if parent in todo} - names
            names |= todo
        dataset, wanted = self.table(self._held, "dataset"), sorted(names)
        if not wanted:
            return sa.false()
        parts: list[sa.ColumnElement[bool]] = [dataset.c.run.in_(wanted)]
        for held in self.every:
            for holder in ("collection_member", "calibration"):
                member = self.table(held, holder).alias()
                parts.append(
                    sa.exists().where(
                        member.c.dataset_id == dataset.c.dataset_id, member.c.collection.in_(wanted)
                    )
                )
        return sa.or_(*parts)

    def find(
        self, connection: sa.Connection, policy: FilePolicy, condition: sa.ColumnElement[bool]
    ) -> dict[uuid.UUID, WantedFile]:
        """The files of the datasets that meet a condition, which other sites have and this one has not."""
        site = self._registry.site
        dataset = self.table(self._held, "dataset")
        here = [self.table(one, "artifact").alias() for one in self.every if one.owned]
        sources: dict[uuid.UUID, list[FileSource]] = {}
        rows = []
        for held in self.every:
            artifact = self.table(held, "artifact")
            statement = sa.select(
                dataset.c.dataset_id, dataset.c.dataset_type, dataset.c.run, artifact.c.site, artifact.c.uri,
                artifact.c.size_bytes, artifact.c.checksum, artifact.c.formatter,
            ).where(
                condition,
                artifact.c.dataset_id == dataset.c.dataset_id,
                artifact.c.present,
                artifact.c.site != site,
                *(
                    ~sa.exists().where(
                        own.c.dataset_id == dataset.c.dataset_id, own.c.site == site, own.c.present
                    )
                    for own in here
                ),
            )  # fmt: skip
            for row in connection.execute(statement):
                known = sources.setdefault(row.dataset_id, [])
                if not known:
                    rows.append(row)
                known.append(FileSource(*row[3:]))
        paths = self._paths(connection, rows)
        return {
            row.dataset_id: WantedFile(
                row.dataset_id,
                row.dataset_type,
                row.run,
                f"{paths[row.dataset_id]}{_suffix(row.uri)}",
                tuple(sources[row.dataset_id]),
                policy,
            )
            for row in rows
            if row.dataset_id in paths
        }

    def _paths(self, connection: sa.Connection, rows: Iterable[Any]) -> dict[uuid.UUID, str]:
        """Where a file goes, without suffix: named by data ID, so that no two sites' paths meet."""
        tables = self._registry.tables_in(connection, self._held.physical)
        physical = self._registry.physical_tables(self._held.physical, tuple(tables.values()))
        by_type: dict[str, list[uuid.UUID]] = {}
        for row in rows:
            by_type.setdefault(row.dataset_type, []).append(row.dataset_id)
        paths = {}
        for name, ids in by_type.items():
            dimensions = [column for column in tables[name].unique[0] if column != "run"]
            for row in select_rows(connection, physical[name], ("dataset_id",), [(one,) for one in ids]):
                data_id = {dimension: row[dimension] for dimension in dimensions}
                paths[row["dataset_id"]] = artifact_path(name, row["run"], data_id, row["dataset_id"])
        return paths


def _suffix(uri: str) -> str:
    name = posixpath.basename(urlsplit(uri).path if "://" in uri else uri)
    found = _SUFFIX.search(name)
    return found[0] if found else ""
