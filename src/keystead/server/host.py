"""`keystead host`: the process that runs this machine's database servers.

It holds no root key: it asks the region for what a system may have, as the machine, over the local socket.
"""

import contextlib
import os
import signal
import stat
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from keystead.adapters.desk import ApiDesk
from keystead.adapters.jose import JoseCodec
from keystead.adapters.mariadb.node import LOOPBACK, MariaDbNode
from keystead.adapters.mariadb.strangers import end_strangers
from keystead.adapters.sql.store import SqlStore
from keystead.core.clock import SteadyClock, SystemClock
from keystead.core.errors import Refusal
from keystead.databases.model import DbSystem
from keystead.databases.node import Node
from keystead.host.agent import Agent, Rules
from keystead.host.control import ControlServer
from keystead.host.identities import Identities
from keystead.host.logins import Doors
from keystead.host.loop import HostLoop
from keystead.host.ports import NodeFactory
from keystead.server.machine import machine_key, this_machine
from keystead.server.process import logs
from keystead.server.process.locks import Lock
from keystead.server.process.ready import mark_ready
from keystead.server.sealing import mark
from keystead.server.serve import check_port, socket_path
from keystead.server.settings import Effective
from keystead.server.state.opening import open_state
from keystead.server.wiring import CONTROL_NAME

LOCK_NAME: Final = "host.lock"
PATIENCE_SECONDS: Final = 5.0
STOP_THREADS: Final = 8


def host(effective: Effective) -> None:
    """Until SIGTERM or SIGINT. Database servers go on."""
    logs.configure("host")
    log = structlog.get_logger()
    settings = effective.settings
    with Lock(effective.runtime / LOCK_NAME, "host", PATIENCE_SECONDS):
        check_port(LOOPBACK, settings.databases.endpoint_port, "[databases] endpoint_port")
        clock = SteadyClock(SystemClock())
        machine = this_machine(effective.state)
        codec = JoseCodec(machine_key(effective.state), kid=machine.id)
        desk = ApiDesk(socket_path(effective), codec, machine.id, machine.region, clock)
        loop = HostLoop(settings.databases.host)
        loop.start(settings.databases.endpoint_port)
        grace = None if settings.access.grace_seconds < 0 else float(settings.access.grace_seconds)
        rules = Rules(float(settings.access.lease_seconds), grace)
        strangers = partial(end_strangers, effective.data)
        sealed = partial(mark.read, effective.state)
        doors = Doors(desk, clock, log.warning)
        doors.start()
        agent = Agent(desk, nodes(effective), loop, loop, clock, rules, log.warning, strangers, sealed=sealed)
        agent.serve_logins(doors)
        identities = Identities(desk, machine.region, clock, log.warning)
        identities.start()
        agent.offer_identities(identities)
        if sealed() is not None:
            _end_unwatched(effective)
        control = ControlServer(agent, effective.runtime / CONTROL_NAME, log.error)
        control.start()
        stopping = threading.Event()
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, lambda *_: stopping.set())
        threading.Thread(target=agent.run, name="agent", daemon=True).start()
        mark_ready(effective, "host")
        stopping.wait()
        agent.stop()
        control.stop()
        identities.stop()
        doors.stop()
        loop.stop()
        _leave_memory(effective)
    # Steps under way are idempotent and servers outlive us: nothing is worth waiting for, and threads would be.
    os._exit(0)


def nodes(effective: Effective) -> NodeFactory:
    """How a node of this machine is made from its system. Raises: Refusal `DirectoryTaken`."""
    data, memory, backups = effective.data, effective.memory, effective.backups
    address, port = effective.settings.databases.host, effective.settings.databases.endpoint_port
    for directory in (data, memory):
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    _require_ours(memory)
    for directory in (data, memory):
        directory.chmod(0o711)  # systems' uids pass through to their own directories
    return lambda system: MariaDbNode(system, data, memory, port, backups, address)


def _require_ours(directory: Path) -> None:
    """A tmpfs is anybody's to write to and the name can be guessed: who made it first could change all within.

    Raises: Refusal `DirectoryTaken`.
    """
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise Refusal(
            "DirectoryTaken",
            f"{directory} was made by somebody else (uid {found.st_uid})",
            hint="look who did, remove it, and start again; or set [databases] tmpfs_dir",
            kind="conflict",
        )


def _systems_here(effective: Effective) -> Sequence[DbSystem]:
    """The systems of this machine, from the state itself."""
    engine = open_state(effective.state)
    try:
        with SqlStore(engine, SystemClock()).read() as tx:
            return tx.databases.on_machine(this_machine(effective.state).id)
    finally:
        engine.dispose()


def _end_unwatched(effective: Effective) -> None:
    """Sealed by order while nobody watched: end what runs. The region cannot be asked which systems there are."""
    systems, make = _systems_here(effective), nodes(effective)
    for system in systems:
        node = make(system)
        if node.adopt() is not None:
            node.kill()
            node.wipe()


def stop_databases(effective: Effective) -> list[str]:
    """Stop every database server of this machine cleanly, and clear the memory of all; returns their names.

    Nothing of the region may run: `host` would start them again.
    """
    systems, make = _systems_here(effective), nodes(effective)
    with ThreadPoolExecutor(STOP_THREADS) as pool:
        stopped = [name for name in pool.map(lambda system: _stop(make(system), system.name), systems) if name]
    _leave_memory(effective)
    return stopped


def _leave_memory(effective: Effective) -> None:
    """Take our directory on the tmpfs away once no server needs it."""
    with contextlib.suppress(OSError):
        effective.memory.rmdir()


def _stop(node: Node, name: str) -> str:
    """Also of a server that was killed nothing is left in memory: no TLS key, no identity of the system's."""
    ran = node.adopt() is not None
    if ran:
        node.stop()
    node.wipe()
    return name if ran else ""
