"""The schema's history leads to the schema, and no further."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from keystead.adapters.sql import migrations, schema
from keystead.adapters.sql.engine import sqlite_engine
from keystead.core.errors import Refusal


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    found = sqlite_engine(tmp_path / "state.db")
    yield found
    found.dispose()


def test_all_steps_together_make_the_schema(engine: sa.Engine) -> None:
    assert migrations.current(engine) == ""
    assert migrations.upgrade(engine) == ("", migrations.HEAD)
    migrations.check(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []


def test_a_second_time_changes_nothing(engine: sa.Engine) -> None:
    migrations.upgrade(engine)
    assert migrations.upgrade(engine) == (migrations.HEAD, migrations.HEAD)


def test_head_is_the_last_step() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [migrations.HEAD]


@pytest.mark.parametrize(("version", "code"), [("0000", "StateOlder"), ("9999", "StateNewer")])
def test_another_schema_is_refused(engine: sa.Engine, version: str, code: str) -> None:
    migrations.upgrade(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{version}'")
    with pytest.raises(Refusal) as caught:
        migrations.check(engine)
    assert caught.value.code == code


def test_a_newer_state_is_not_touched(engine: sa.Engine) -> None:
    migrations.upgrade(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Refusal):
        migrations.upgrade(engine)
    assert migrations.current(engine) == "9999"
