"""Which copies of a schema are in the state that a caller asks for: at a position, or past one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from federation.model.catalog import SchemaCatalog
    from federation.model.position import Position, SchemaId
    from federation.planner.draft import Draft

__all__ = ["is_at", "lacks", "why_not_held"]


def is_at(held: SchemaCatalog, wanted: Position) -> bool:
    """Whether a copy is of the schema that ``wanted`` is of, and exactly there."""
    return held.schema == wanted.schema_id and (held.epoch, held.lsn) == (wanted.epoch, wanted.lsn)


def lacks(held: SchemaCatalog, wanted: Position) -> bool:
    """Whether a copy is of the schema that ``wanted`` is of, and does not have all up to there."""
    return held.schema == wanted.schema_id and (held.epoch != wanted.epoch or held.lsn < wanted.lsn)


def why_not_held(draft: Draft, schema: SchemaId) -> tuple[str, str] | None:
    """(reason, remedy) where nobody has the schema in the state that the caller asks for; None where that is not why.

    `QueryError` where positions to read as of are given, but none for this schema.
    """
    options = draft.options
    copies = draft.catalog.holders(schema)
    if options.as_of is not None:
        wanted = next((one for one in options.as_of if one.schema_id == schema), None)
        if wanted is None:
            raise draft.error(
                f"the positions to read as of say nothing of {schema}",
                hint=f"add {schema}@EPOCH:LSN, or name the schemas that are meant before the tables",
            )
        return (
            f"no site holds {schema} as of {wanted.epoch}:{wanted.lsn}; {_held_where(copies)}",
            "copies keep their last state only: ask without positions, or read a snapshot that was made then",
        )
    behind = next((one for one in options.after if any(lacks(held, one) for _, held in copies)), None)
    if behind is None or behind.schema_id != schema:
        return None
    owner = draft.catalog.site(schema.site)
    if owner is None:
        # the owner has what was written, and does not answer
        return (
            None
            if not copies
            else (
                f"no copy of {schema} that answers has {behind.epoch}:{behind.lsn}; {_held_where(copies)}",
                f"ask again when site {schema.site} answers or its followers have caught up",
            )
        )
    if all(lacks(held, behind) for _, held in copies):
        return (
            f"no site holds {schema} up to {behind.epoch}:{behind.lsn}; {_held_where(copies)}",
            "was the site restored from a backup? federation site status tells; ask without the position",
        )
    return None


def _held_where(copies: tuple[tuple[str, SchemaCatalog], ...]) -> str:
    """The state at each site that holds the schema."""
    if not copies:
        return "no site that answers holds it"
    return ", ".join(
        f"{site} holds it {'at' if site == held.schema.site else 'as a replica at'} {held.epoch}:{held.lsn}"
        for site, held in copies
    )
