"""Tags and validity ranges of an export: those of the datasets that are in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from federation.errors import NotFoundError, UserError
from federation.model.collection import CollectionType
from federation.model.timespan import Timespan
from federation.registry.butler.write_choice import collection_of_row
from federation.registry.butler.write_text import associations_entry

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from federation.model.collection import Collection
    from federation.registry.butler.write_choice import Choice
    from federation.registry.butler.write_source import ExportSource
    from federation.registry.schemas import HeldSchema

__all__ = ["Associations"]

_TABLES = {CollectionType.TAGGED: "collection_member", CollectionType.CALIBRATION: "calibration"}


class Associations:
    """Reads the associations of a choice; `collect` keeps those of datasets that were written."""

    def __init__(self, source: ExportSource, choice: Choice) -> None:
        self._source, self._choice = source, choice
        self._tags: dict[str, list[uuid.UUID]] = {}
        self._validity: dict[str, dict[Timespan, list[uuid.UUID]]] = {}
        self.warnings: list[str] = []

    def _rows(self) -> Iterator[tuple[CollectionType, Mapping[str, Any]]]:
        by_place: dict[tuple[HeldSchema, CollectionType], list[str]] = {}
        for name, (held, collection) in self._choice.collections.items():
            if collection.type in _TABLES:
                by_place.setdefault((held, collection.type), []).append(name)
        for (held, kind), names in by_place.items():
            keys = [(name,) for name in names]
            for row in self._source.select(held, _TABLES[kind], ("collection",), keys):
                yield kind, row

    def members_elsewhere(self) -> set[uuid.UUID]:
        """Datasets that chosen collections hold beside those of chosen RUNs."""
        if self._choice.only_used and self._choice.ids is None:
            # dataset types were chosen, and collections only as far as they hold such
            return set()
        return {row["dataset_id"] for _, row in self._rows()}

    def collect(self, written: Mapping[uuid.UUID, str], *, leave_out: bool) -> None:
        """Keep associations of written datasets.

        A member that no schema here has is a `NotFoundError`, unless ``leave_out``; one that was not chosen is not.
        """
        absent: dict[uuid.UUID, str] = {}
        is_calibration = {name: known.is_calibration for name, known in self._source.dataset_types.items()}
        for kind, row in self._rows():
            identity, name = row["dataset_id"], row["collection"]
            if identity not in written:
                absent[identity] = name
            elif kind is CollectionType.TAGGED:
                self._tags.setdefault(name, []).append(identity)
            elif not is_calibration[written[identity]]:
                raise UserError(
                    f"{name}: {written[identity]} is certified and is no calibration type, which a Butler refuses",
                    hint="declare the dataset type with is_calibration",
                )
            else:
                span = Timespan(row["timespan_begin"], row["timespan_end"])
                self._validity.setdefault(name, {}).setdefault(span, []).append(identity)
        self._check_known(absent, leave_out=leave_out)

    def _check_known(self, absent: Mapping[uuid.UUID, str], *, leave_out: bool) -> None:
        if not self._choice.is_whole and self._choice.only_used:
            return
        known = self._source.find("dataset", ("dataset_id",), [(identity,) for identity in absent])
        lost = [identity for identity in absent if (identity,) not in known]
        if not lost:
            return
        what = f"collection {absent[lost[0]]!r} has dataset {lost[0]}"
        if not leave_out:
            raise NotFoundError(
                f"{what}, which no schema here has",
                hint="follow the site that has it, or leave it out: --leave-out",
            )
        more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
        self.warnings.append(f"{what}{more}, which is left out: no schema here has it")

    @property
    def collections(self) -> set[str]:
        """Those that hold a written dataset."""
        return {*self._tags, *self._validity}

    def collections_in(self, held: HeldSchema, names: Iterable[str]) -> dict[str, Collection]:
        """Declarations of RUNs of one schema."""
        rows = self._source.select(held, "collection", ("name",), [(name,) for name in names])
        return {row["name"]: collection_of_row(row, ()) for row in rows}

    @property
    def members(self) -> int:
        return sum(map(len, self._tags.values()))

    @property
    def validity_ranges(self) -> int:
        return sum(len(ids) for spans in self._validity.values() for ids in spans.values())

    def entries(self) -> Iterator[str]:
        """The text of every entry; identities in order, so that the same content is the same file."""
        for name in sorted(self._tags):
            yield associations_entry(name, sorted(self._tags[name]), calibration=False)
        for name in sorted(self._validity):
            spans = self._validity[name]
            order = sorted(spans, key=lambda span: (span.begin is not None, span.begin or 0, span.end or 0))
            yield associations_entry(name, {span: sorted(spans[span]) for span in order}, calibration=True)
