"""The data set's rows as SQL."""

from pathlib import Path

import pytest

from demo import flights

AIRPORTS = next(table for table in flights.TABLES if table.name == "airports")
WEATHER = next(table for table in flights.TABLES if table.name == "weather")


def written(directory: Path, table: flights.Table, *rows: str) -> Path:
    names = ",".join(name for name, _ in table.columns)
    (directory / f"{table.name}.csv").write_text("\n".join([names, *rows, ""]))
    return directory


def test_rows_become_statements(tmp_path: Path) -> None:
    directory = written(tmp_path, AIRPORTS, "ABC,Port O\\'Connor,41.5,-80,NA,-5,A,NA", 'X1,"a, b",1,2,3,4,U,Asia/Tokyo')
    assert list(flights.statements(AIRPORTS, directory)) == [
        (
            "INSERT INTO airports VALUES ('ABC','Port O\\\\''Connor',41.5,-80.0,NULL,-5,'A',NULL),"
            "('X1','a, b',1.0,2.0,3,4,'U','Asia/Tokyo')",
            2,
        )
    ]


def test_rows_are_numbered_over_statements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights, "BATCH", 2)
    row = "EWR,2013,1,1,1,39.02,26.06,59.37,270,10.3,NA,0,1012,10,2013-01-01T06:00:00Z"
    made = list(flights.statements(WEATHER, written(tmp_path, WEATHER, row, row, row)))
    assert [rows for _, rows in made] == [2, 1]
    assert made[1][0].startswith("INSERT INTO weather VALUES (3,'EWR',2013,")
    assert made[1][0].endswith(",'2013-01-01 06:00:00')")


@pytest.mark.parametrize(
    "row",
    [
        "ABC,x,41.5,-80,1); DROP TABLE airports; --,-5,A,NA",
        "ABC,x,0x41,-80,1,-5,A,NA",
        "ABC,x,1,2",
    ],
)
def test_what_is_no_number_is_no_statement(tmp_path: Path, row: str) -> None:
    with pytest.raises(ValueError):
        list(flights.statements(AIRPORTS, written(tmp_path, AIRPORTS, row)))


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "airports.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="other columns"):
        list(flights.statements(AIRPORTS, tmp_path))


def test_definitions() -> None:
    assert flights.TABLES[0].definition() == (
        "CREATE TABLE airlines (`carrier` CHAR(2), `name` VARCHAR(64), PRIMARY KEY (carrier))"
    )
    assert "`id` INT UNSIGNED NOT NULL PRIMARY KEY" in WEATHER.definition()
