"""The text of a node's configuration file: everything at rest encrypted, nothing sensitive in any log.

`render` is pure and writes the complete file, for `mariadbd --defaults-file=`: no other file is read. It holds no
secret; the key endpoint's token comes in the environment of the process. Which hole each group of settings closes is
said beside it. Paths and names are checked, so that no value can smuggle in a line.

The endpoint's URL is `http://127.0.0.1:<port>/v1/<tenancy>/<system>`; `mount_of` gives the part after `/v1/`.
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

MAX_SOCKET_PATH = 107
PLUGIN_TIMEOUT = 2
"""Seconds after which the plugin gives up on one request to the key endpoint."""

_PATH = re.compile(r"/[A-Za-z0-9._/@+-]*")
_NAME = re.compile(r"[A-Za-z0-9._~-]{1,200}")


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes, in MiB except where said. `for_memory` derives them all from the memory a system may use."""

    buffer_pool: int
    redo_log: int
    log_buffer: int
    tmp_memory_table: int
    max_binlog: int
    table_open_cache: int
    max_connections: int

    @classmethod
    def for_memory(cls, memory_mb: int) -> "Shape":
        """Lean to about 60 MB of resident memory at the smallest; half of a large system's memory is buffer pool."""
        if memory_mb < 64:
            raise ValueError("a system needs at least 64 MB of memory")
        pool = max(16, (memory_mb - 64) // 2 if memory_mb < 1024 else memory_mb * 6 // 10)
        return cls(
            buffer_pool=pool,
            redo_log=min(2048, max(16, pool // 2)),
            log_buffer=2 if pool < 64 else 16,
            tmp_memory_table=min(256, max(16, memory_mb // 16)),
            max_binlog=64 if memory_mb < 1024 else 256,
            table_open_cache=max(128, min(4000, memory_mb)),
            max_connections=max(32, min(2000, memory_mb // 4)),
        )


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What differs from node to node. Directories are absolute.

    `run_directory` holds the socket and the pid file and is open to the system's uid alone; `tmp_directory` lies on
    tmpfs, because on-disk temporary tables spill rows in clear even when MariaDB is told to encrypt them. The TLS key
    file is read at start only; keep it on tmpfs too.
    """

    tenancy: str
    system: str
    server_id: int
    port: int
    endpoint_port: int
    data_directory: str
    run_directory: str
    tmp_directory: str
    tls_certificate: str
    tls_key: str
    tls_ca: str
    shape: Shape
    bind_address: str = "127.0.0.1"
    binlog_expire_seconds: int = 7 * 24 * 3600
    plugin_directory: str = ""
    """Where the server finds its plugins; with the one for logins with tokens, else empty: the system's own."""
    login_socket: str = ""
    redo_log_extra: bool = False
    """Toggle: adds 4 MiB to the redo log. A start with another size writes a fresh log under the newest key version."""

    def __post_init__(self) -> None:
        for port in (self.port, self.endpoint_port):
            if not 1 <= port <= 65535:
                raise ValueError("a port is between 1 and 65535")
        if not 1 <= self.server_id <= 0xFFFFFFFF:
            raise ValueError("a server id is between 1 and 4294967295")
        for name in (self.tenancy, self.system):
            if not _NAME.fullmatch(name):
                raise ValueError("tenancy and system are ids")
        if not re.fullmatch(r"[0-9a-fA-F.:]{2,45}|\*", self.bind_address):
            raise ValueError("the bind address is an IP address")
        for path in self._paths():
            if not _PATH.fullmatch(path) or ".." in PurePosixPath(path).parts:
                raise ValueError(f"path {path!r} is not absolute or holds characters that a configuration cannot")
        if max(len(self.socket), len(self.login_socket)) > MAX_SOCKET_PATH:
            raise ValueError(f"the socket's path is longer than {MAX_SOCKET_PATH} characters: {self.socket}")

    def _paths(self) -> tuple[str, ...]:
        return (
            self.data_directory,
            self.run_directory,
            self.tmp_directory,
            self.tls_certificate,
            self.tls_key,
            self.tls_ca,
            *filter(None, (self.plugin_directory, self.login_socket)),
        )

    @property
    def socket(self) -> str:
        """Path of the Unix socket."""
        return f"{self.run_directory}/mysql.sock"

    @property
    def mount(self) -> str:
        """The key endpoint's mount of this system."""
        return mount_of(self.tenancy, self.system)


def mount_of(tenancy: str, system: str) -> str:
    """The key endpoint's mount of `system`: what follows `/v1/` in the plugin's URL."""
    return f"{tenancy}/{system}"


def plugin_options(tenancy: str, system: str, endpoint_port: int) -> dict[str, str]:
    """The key management plugin's options, also for mariadb-backup. `key-cache-*` defaults are meant (see docs).

    Caching on errors is on, so that a fault of ours never stops a healthy database; it is not what revokes (fencing
    does). FORCE: without keys the server does not start, instead of starting without the plugin.
    """
    return {
        "hashicorp_key_management": "FORCE",
        "hashicorp_key_management_vault_url": f"http://127.0.0.1:{endpoint_port}/v1/{mount_of(tenancy, system)}",
        "hashicorp_key_management_timeout": str(PLUGIN_TIMEOUT),
        "hashicorp_key_management_max_retries": "1",
        "hashicorp_key_management_caching_enabled": "ON",
        "hashicorp_key_management_use_cache_on_timeout": "ON",
        "hashicorp_key_management_check_kv_version": "ON",
    }


def render(config: NodeConfig) -> str:
    """The whole configuration file of a node."""
    groups = (
        _place(config),
        _keys(config),
        *_logins(config),
        _encryption(),
        _silence(config),
        _durability(config),
        _sizes(config),
    )
    lines = ["# Written by Keystead. Changes are overwritten.", "[mariadbd]"]
    for comment, options in groups:
        lines += ["", f"# {comment}", *(f"{name} = {value}" for name, value in options.items())]
    return "\n".join(lines) + "\n"


Group = tuple[str, dict[str, str]]


def _place(config: NodeConfig) -> Group:
    return "where it lives and who may reach it", {
        "datadir": config.data_directory,
        "socket": config.socket,
        "pid_file": f"{config.run_directory}/mysqld.pid",
        "port": str(config.port),
        "bind_address": config.bind_address,
        "skip_name_resolve": "ON",
        "host_cache_size": "0",
        "ssl_cert": config.tls_certificate,
        "ssl_key": config.tls_key,
        "ssl_ca": config.tls_ca,
        "tls_version": "TLSv1.2,TLSv1.3",
        "require_secure_transport": "ON",
        "unix_socket": "ON",
        "local_infile": "OFF",
        "symbolic_links": "OFF",
        "event_scheduler": "OFF",
        "log_bin_trust_function_creators": "ON",
        "feedback": "OFF",
        "lc_messages": "en_US",
        "character_set_server": "utf8mb4",
    }


def _keys(config: NodeConfig) -> Group:
    ours = {"plugin_dir": config.plugin_directory} if config.plugin_directory else {}
    loaded = "hashicorp_key_management" + (";iam_auth" if config.plugin_directory else "")
    return "keys come from the key endpoint; the token from the environment", {
        **ours,
        "plugin_load_add": loaded,
        **plugin_options(config.tenancy, config.system, config.endpoint_port),
    }


def _logins(config: NodeConfig) -> tuple[Group, ...]:
    """Nothing where there is no plugin: a server does not start with settings of one that it does not find."""
    if not config.plugin_directory:
        return ()
    options = {"iam_token_socket": config.login_socket, "iam_token_server": config.system}
    return (("logins with security tokens", options),)


def _encryption() -> Group:
    return "everything at rest is encrypted; other engines would not be", {
        "innodb_encrypt_tables": "FORCE",
        "innodb_encrypt_log": "ON",
        "innodb_encrypt_temporary_tables": "ON",
        "innodb_encryption_threads": "2",
        "innodb_encryption_rotate_key_age": "1",
        "innodb_checksum_algorithm": "full_crc32",
        # A spatial index of a ROW_FORMAT=COMPRESSED table stays in clear (measured); with this there is no such table.
        "innodb_read_only_compressed": "ON",
        "encrypt_binlog": "ON",
        "encrypt_tmp_files": "ON",
        "encrypt_tmp_disk_tables": "ON",
        "aria_encrypt_tables": "ON",
        "enforce_storage_engine": "InnoDB",
        "default_storage_engine": "InnoDB",
    }


def _silence(config: NodeConfig) -> Group:
    # A crash report prints the statement that was running, hence no stack trace; unsafe statements would be quoted
    # under statement-based logging, hence row-based.
    return "nothing sensitive spills: temporary files on tmpfs, no logs, no dumps, no crash report", {
        "tmpdir": config.tmp_directory,
        "innodb_tmpdir": config.tmp_directory,
        "slave_load_tmpdir": config.tmp_directory,
        "secure_file_priv": config.tmp_directory,
        "log_output": "NONE",
        "general_log": "OFF",
        "slow_query_log": "OFF",
        "log_warnings": "1",
        "core_file": "OFF",
        "stack_trace": "OFF",
        "innodb_print_all_deadlocks": "OFF",
        "innodb_status_output": "OFF",
        "performance_schema": "OFF",
    }


def _durability(config: NodeConfig) -> Group:
    return "what was acknowledged survives a kill", {
        "innodb_flush_log_at_trx_commit": "1",
        "innodb_doublewrite": "ON",
        "sync_binlog": "1",
        "log_bin": "binlog",
        "log_bin_index": "binlog.index",
        "relay_log": "relay",
        "binlog_format": "ROW",
        "binlog_expire_logs_seconds": str(config.binlog_expire_seconds),
        "server_id": str(config.server_id),
        "gtid_domain_id": "0",
        "gtid_strict_mode": "ON",
        "log_slave_updates": "ON",
    }


def _sizes(config: NodeConfig) -> Group:
    shape = config.shape
    redo = shape.redo_log + (4 if config.redo_log_extra else 0)
    return "sizes", {
        "innodb_buffer_pool_size": f"{shape.buffer_pool}M",
        "innodb_log_file_size": f"{redo}M",
        "innodb_log_buffer_size": f"{shape.log_buffer}M",
        "innodb_temp_data_file_path": "ibtmp1:1M:autoextend",
        "innodb_autoextend_increment": "8",
        "innodb_read_io_threads": "1" if shape.buffer_pool < 256 else "4",
        "innodb_write_io_threads": "1" if shape.buffer_pool < 256 else "4",
        "innodb_purge_threads": "1" if shape.buffer_pool < 256 else "4",
        "key_buffer_size": "1M",
        "aria_pagecache_buffer_size": "1M",
        "query_cache_type": "OFF",
        "query_cache_size": "0",
        "tmp_memory_table_size": f"{shape.tmp_memory_table}M",
        "max_heap_table_size": f"{shape.tmp_memory_table}M",
        "max_allowed_packet": "64M",
        "max_binlog_size": f"{shape.max_binlog}M",
        "table_open_cache": str(shape.table_open_cache),
        "max_connections": str(shape.max_connections),
    }
