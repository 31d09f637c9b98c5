"""The doctor finds what is wrong, and says it in words that help."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol

import msgspec
import pytest
from tests.ports import free_block

from keystead.adapters.keystores.patience import Failing, Limits, Patience
from keystead.core.errors import KeystoreUnavailable
from keystead.server import doctor, keystore_health, settings
from keystead.server.doctor import Finding, examine, file_system
from keystead.server.settings import Effective


def findings(region: Effective) -> dict[str, Finding]:
    return {finding.check: finding for finding in examine(region)}


def changed(region: Effective, section: str, **values: object) -> Effective:
    part = msgspec.structs.replace(getattr(region.settings, section), **values)
    return Effective(msgspec.structs.replace(region.settings, **{section: part}), region.file, region.state)


@pytest.fixture
def quiet(region: Effective) -> Effective:
    """On ports that nothing else uses."""
    ports = free_block(2)
    return changed(changed(region, "listen", port=ports[0]), "databases", endpoint_port=ports[1])


def test_a_fresh_region_has_nothing_failed_of_its_own(quiet: Effective) -> None:
    found = findings(quiet)
    for check in ("running", "state directory", "seal", "state", "ports", "tmpfs"):
        assert found[check].state == "ok", found[check]
    assert found["key file"].state in ("ok", "warning")
    assert found["seal"].text.startswith("2 slots: key-file")


def test_a_state_directory_open_to_others(quiet: Effective) -> None:
    quiet.state.chmod(0o755)
    assert findings(quiet)["state directory"].state == "failed"


def test_a_key_file_open_to_others(quiet: Effective, tmp_path: Path) -> None:
    assert quiet.key_file is not None
    copy = tmp_path / "open.key"
    copy.write_bytes(quiet.key_file.read_bytes())
    copy.chmod(0o444)
    found = findings(changed(quiet, "unseal", key_file=str(copy)))["key file"]
    assert found.state == "failed"
    assert "chmod 0400" in found.text


def test_a_port_that_is_taken(quiet: Effective) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        found = findings(changed(quiet, "listen", port=taken.getsockname()[1]))["ports"]
    assert found.state == "failed"
    assert "something else listens" in found.text


def test_ports_in_common(quiet: Effective) -> None:
    found = findings(changed(quiet, "databases", ports="23300-23399", endpoint_port=23350))["ports"]
    assert found.state == "failed"
    assert "in common" in found.text


def test_temporary_files_on_a_disk(quiet: Effective) -> None:
    found = findings(changed(quiet, "databases", tmpfs_dir="/proc"))["tmpfs"]
    assert found.state == "failed"
    assert "not tmpfs" in found.text


def test_a_state_of_another_schema(quiet: Effective) -> None:
    (quiet.state / "state.db").unlink()
    found = findings(quiet)["state"]
    assert found.state == "failed"
    assert "missing" in found.text


def test_uids_of_people(quiet: Effective, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    found = findings(changed(quiet, "databases", uids="1-65000"))["user ids"]
    assert found.state == "failed"


def test_the_file_system_of_a_path() -> None:
    assert file_system(Path("/proc/self")) == "proc"


def test_every_setting_is_described() -> None:
    names = {f"{section}.{name}" for section, name, about, _ in settings.described() if about}
    assert len(names) == sum(len(struct.__struct_fields__) for struct in settings.SECTIONS.values())


def test_checks_have_names_that_differ() -> None:
    assert len(doctor.CHECKS) == len({name.casefold() for name in doctor.CHECKS})


# keystores


class Kms(Protocol):
    """Answers on a port as OpenBao's transit engine does: `status` to everything, or nothing at all."""

    url: str
    status: int


@pytest.fixture
def kms() -> Iterator[Kms]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not server.status:  # type: ignore[attr-defined]
                server.free.wait(20)  # type: ignore[attr-defined]
                return
            body = b'{"errors": []}'
            self.send_response(server.status)  # type: ignore[attr-defined]
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.status, server.free = True, 404, threading.Event()  # type: ignore[attr-defined]
    server.url = f"http://127.0.0.1:{server.server_address[1]}"  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server  # type: ignore[misc]
    server.free.set()  # type: ignore[attr-defined]
    server.shutdown()


def with_kms(region: Effective, kms: Kms, tmp_path: Path) -> Effective:
    (tmp_path / "token").write_text("s.token")
    listen = msgspec.structs.replace(region.settings.listen, runtime_dir=str(tmp_path / "run"))
    region = Effective(msgspec.structs.replace(region.settings, listen=listen), region.file, region.state)
    return changed(region, "external", url=kms.url, token_file=str(tmp_path / "token"), call_seconds=0.3)


def test_no_keystores(quiet: Effective) -> None:
    found = findings(quiet)
    assert (found["token"].state, found["other KMS"].state) == ("ok", "ok")


def test_another_kms_and_how_it_fails(quiet: Effective, kms: Kms, tmp_path: Path) -> None:
    region = with_kms(quiet, kms, tmp_path)
    state, text = keystore_health.external(region)
    assert state == "ok" and re.search(r"answers in \d+ ms", text), text
    kms.status = 403
    state, text = keystore_health.external(region)
    assert state == "failed" and "is the token in" in text, text
    kms.status = 503
    state, text = keystore_health.external(region)
    assert state == "failed" and "see its status and its log" in text, text
    kms.status, began = 0, time.monotonic()
    state, text = keystore_health.external(region)
    assert state == "failed" and "no answer" in text and time.monotonic() - began < 5, text


def test_what_the_processes_have_seen_of_it(quiet: Effective, kms: Kms, tmp_path: Path) -> None:
    region = with_kms(quiet, kms, tmp_path)
    patience = Patience("it", Limits(failures=1, pause=0.01, longest_pause=0.01))
    keystore_health.note(region.runtime, "external", patience)

    def fail() -> None:
        raise Failing("connection refused")

    with pytest.raises(KeystoreUnavailable):
        patience.run(fail)
    state, text = keystore_health.external(region)
    assert state == "warning" and "connection refused" in text and "1 of the region's processes" in text, text
    while True:
        with suppress(KeystoreUnavailable):
            patience.run(lambda: None)
            break
    assert keystore_health.external(region)[0] == "ok"
    (region.runtime / "keystores" / "external.999999999.json").write_text('{"state": "open"}')
    assert keystore_health.external(region)[0] == "ok"
    assert not (region.runtime / "keystores" / "external.999999999.json").exists()


def test_a_token_that_is_not_there(quiet: Effective) -> None:
    state, text = keystore_health.token(changed(quiet, "hsm", uri="pkcs11:token=prod", module="/nowhere/module.so"))
    assert state == "failed" and "is it installed" in text, text
