"""The configuration text: complete, and nothing can be smuggled into it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystead.databases.config import NodeConfig, Shape, mount_of, render

CONFIG = NodeConfig(
    tenancy="ks1.tenancy.main.home.a",
    system="ks1.mysqldbsystem.main.home.b",
    server_id=1,
    port=3306,
    endpoint_port=7100,
    data_directory="/var/lib/keystead/db/x/data",
    run_directory="/run/keystead/x",
    tmp_directory="/dev/shm/keystead/x",
    tls_certificate="/run/keystead/x.crt",
    tls_key="/run/keystead/x.key",
    tls_ca="/var/lib/keystead/ca.pem",
    shape=Shape.for_memory(256),
)


def options(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and not line.startswith(("#", "["))]
    found = dict(line.split(" = ", 1) for line in lines)
    assert len(found) == len(lines), "an option is given twice"
    return found


def test_every_hole_is_closed() -> None:
    found = options(render(CONFIG))
    for name in (
        "innodb_encrypt_log",
        "innodb_encrypt_temporary_tables",
        "encrypt_binlog",
        "encrypt_tmp_files",
        "encrypt_tmp_disk_tables",
        "aria_encrypt_tables",
        "innodb_read_only_compressed",
        "require_secure_transport",
        "skip_name_resolve",
    ):
        assert found[name] == "ON", name
    for name in ("general_log", "slow_query_log", "core_file", "stack_trace", "local_infile", "symbolic_links",
                 "performance_schema", "innodb_print_all_deadlocks", "event_scheduler"):  # fmt: skip
        assert found[name] == "OFF", name
    for name in ("tmpdir", "innodb_tmpdir", "slave_load_tmpdir", "secure_file_priv"):
        assert found[name] == "/dev/shm/keystead/x", name
    assert found["innodb_encrypt_tables"] == "FORCE"
    assert found["enforce_storage_engine"] == "InnoDB"
    assert found["log_output"] == "NONE"
    assert found["innodb_flush_log_at_trx_commit"] == found["sync_binlog"] == "1"
    assert found["hashicorp_key_management"] == "FORCE"
    assert found["hashicorp_key_management_use_cache_on_timeout"] == "ON"
    assert found["hashicorp_key_management_vault_url"] == f"http://127.0.0.1:7100/v1/{CONFIG.mount}"
    assert "hashicorp_key_management_token" not in found


def test_the_mount_names_tenancy_and_system() -> None:
    assert CONFIG.mount == mount_of(CONFIG.tenancy, CONFIG.system) == f"{CONFIG.tenancy}/{CONFIG.system}"
    assert CONFIG.socket == "/run/keystead/x/mysql.sock"


def test_another_redo_size_on_demand() -> None:
    usual = options(render(CONFIG))["innodb_log_file_size"]
    other = options(render(replace(CONFIG, redo_log_extra=True)))["innodb_log_file_size"]
    assert int(other[:-1]) == int(usual[:-1]) + 4


@pytest.mark.parametrize(
    "change",
    [
        {"port": 0},
        {"port": 70000},
        {"endpoint_port": -1},
        {"server_id": 0},
        {"system": "a/b"},
        {"tenancy": ""},
        {"tenancy": "a\nplugin_load_add = x"},
        {"data_directory": "relative"},
        {"data_directory": "/a/../b"},
        {"tmp_directory": "/a b"},
        {"tls_key": "/a\ncore_file = ON"},
        {"tls_ca": "/a#b"},
        {"bind_address": "example.org"},
        {"run_directory": "/" + "x" * 100},
    ],
)
def test_what_it_refuses(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        replace(CONFIG, **change)  # type: ignore[arg-type]


@given(st.text(max_size=60))
def test_no_text_adds_a_line(text: str) -> None:
    try:
        changed = replace(CONFIG, data_directory=f"/{text}", tls_ca=f"/{text}")
    except ValueError:
        return
    assert options(render(changed)).keys() == options(render(CONFIG)).keys()
    assert len(render(changed).splitlines()) == len(render(CONFIG).splitlines())


@given(st.integers(min_value=64, max_value=1 << 20))
def test_shapes_grow_with_memory(memory: int) -> None:
    shape, larger = Shape.for_memory(memory), Shape.for_memory(memory + 512)
    assert 16 <= shape.buffer_pool < memory
    assert shape.redo_log + shape.log_buffer >= 18
    assert larger.buffer_pool >= shape.buffer_pool and larger.max_connections >= shape.max_connections


def test_too_little_memory() -> None:
    with pytest.raises(ValueError):
        Shape.for_memory(32)
