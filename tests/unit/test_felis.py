"""Descriptions in Felis: what is written is valid for the real Felis, what is read is applied or refused."""

from __future__ import annotations

import io
from pathlib import Path

import attrs
import pytest

from federation.errors import NotFoundError, UserError
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse
from federation.model.logical import ColumnDef, LogicalType, dataset_type_table, dimension_tables
from federation.model.system_tables import system_tables
from federation.model.user_table import UserTable
from federation.registry.felis import described, felis_text, read_felis

TABLE = UserTable.from_row(
    UserTable(
        "quality",
        (
            ColumnDef("visit", LogicalType.INT64, nullable=False, doc="visit"),
            ColumnDef("seeing", LogicalType.FLOAT64, doc="image quality", unit="arcsec", ucd="phys.angSize"),
            ColumnDef("rate", LogicalType.FLOAT64, unit="photons every so often"),
            ColumnDef("good", LogicalType.BOOL),
            ColumnDef("note", LogicalType.STRING, doc='é: "it\'s"\n# 1'),
            ColumnDef("raw", LogicalType.BYTES),
            ColumnDef("id", LogicalType.UUID),
            ColumnDef("taken", LogicalType.TIMESTAMP, doc="when (TAI)"),
        ),
        ("visit",),
        "Quality of visits",
    ).to_row()
)

DESCRIPTION = """
name: alice
"@id": "#alice"
version: {current: "1"}
tables:
- name: quality
  "@id": "#quality"
  description: Quality of visits
  primaryKey: "#quality.visit"
  columns:
  - {name: visit, "@id": "#quality.visit", datatype: long, description: the visit, nullable: false}
  - {name: seeing, "@id": "#quality.seeing", datatype: double, ivoa:unit: arcsec, ivoa:ucd: phys.angSize}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "quality.yaml"
    path.write_text(text)
    return path


class TestWriting:
    def test_is_valid_for_the_real_felis(self) -> None:
        datamodel = pytest.importorskip("felis.datamodel")
        flat = DatasetType("flat", ("detector", "physical_filter"), "Exposure", True)
        universe = DimensionUniverse.default()
        tables = [
            TABLE.table(),
            *system_tables(),
            *dimension_tables(universe),
            dataset_type_table(universe, flat),
        ]
        found = datamodel.Schema.from_stream(io.StringIO(felis_text("alice", tables, "Tables of alice")))

        assert [table.name for table in found.tables] == [table.name for table in tables]
        quality = {column.name: column for column in found.tables[0].columns}
        assert found.tables[0].primary_key == ["#quality.visit"]
        assert quality["seeing"].ivoa_unit == "arcsec"
        assert quality["seeing"].ivoa_ucd == "phys.angSize"
        assert quality["seeing"].description == "image quality"
        assert quality["rate"].description == "(unit: photons every so often)"
        assert not quality["visit"].nullable

    def test_is_read_back_as_it_was(self, tmp_path: Path) -> None:
        path = write(tmp_path, felis_text("alice", [TABLE.table()]))
        bare = attrs.evolve(
            TABLE, doc="", columns=tuple(attrs.evolve(c, doc="", unit="", ucd="") for c in TABLE.columns)
        )
        found = {column.name: column for column in described(bare, read_felis(path, "quality")).columns}
        assert found["seeing"] == TABLE.columns[1]
        assert found["visit"] == TABLE.columns[0]
        assert found["note"].doc == 'é: "it\'s" # 1'


class TestReading:
    def test_the_real_felis_agrees_with_what_we_take(self) -> None:
        datamodel = pytest.importorskip("felis.datamodel")
        datamodel.Schema.from_stream(io.StringIO(DESCRIPTION))

    def test_gives_units_ucds_and_descriptions(self, tmp_path: Path) -> None:
        table = described(TABLE, read_felis(write(tmp_path, DESCRIPTION), "quality"))
        assert table.doc == "Quality of visits"
        assert table.columns[0].doc == "the visit"
        assert (table.columns[1].unit, table.columns[1].ucd, table.columns[1].doc) == (
            "arcsec",
            "phys.angSize",
            "image quality",
        )
        assert table.columns[2:] == TABLE.columns[2:]

    @pytest.mark.parametrize(
        ("old", "new", "says"),
        [
            ("arcsec", "furlongs!", "table quality, column seeing: 'furlongs!' is no unit"),
            ("phys.angSize", "phys.nonsense", "column seeing: 'phys.nonsense' is no UCD"),
            ("datatype: double", "datatype: real", "column seeing: datatype 'real' is not known"),
            ("datatype: double", "datatype: boolean", "datatype boolean does not describe a float64"),
            ("name: seeing", "name: sharpness", "table quality has no column 'sharpness'"),
            ("name: seeing,", "", "has a column without a name"),
            (
                'primaryKey: "#quality.visit"',
                'primaryKey: "#visit"',
                "primaryKey '#visit' is the @id of no column",
            ),
            (
                'primaryKey: "#quality.visit"',
                'primaryKey: ["#quality.visit", "#quality.seeing"]',
                "primaryKey is visit, seeing, the key of the table visit",
            ),
            ("nullable: false", "nullable: 3", "column visit: nullable = 3 is not true or false"),
            ("description: the visit", "description: 7", "column visit: description = 7 is not a text"),
            ("  columns:", "  pillars:", "has no list of columns"),
            ("tables:", "table:", "has no list of tables"),
            ("tables:", "tables: [", "is not YAML"),
        ],
    )
    def test_refuses_what_is_wrong_and_says_where(
        self, tmp_path: Path, old: str, new: str, says: str
    ) -> None:
        assert old in DESCRIPTION
        path = write(tmp_path, DESCRIPTION.replace(old, new))
        with pytest.raises(UserError) as error:
            described(TABLE, read_felis(path, "quality"))
        assert says in error.value.message
        assert str(path) in error.value.message
        assert error.value.hint

    def test_finds_the_table_by_its_name(self, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError, match="describes no table 'seeing'") as error:
            read_felis(write(tmp_path, DESCRIPTION), "seeing")
        assert error.value.hint == "it describes: quality"
        with pytest.raises(NotFoundError, match="no file"):
            read_felis(tmp_path / "none.yaml", "quality")
