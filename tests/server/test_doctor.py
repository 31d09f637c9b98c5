"""The doctor finds what is wrong, and says it in words that help."""

import socket
from pathlib import Path

import msgspec
import pytest

from keystead.server import doctor, settings
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
    with socket.socket() as one, socket.socket() as two:
        for probe in (one, two):
            probe.bind(("127.0.0.1", 0))
        ports = [probe.getsockname()[1] for probe in (one, two)]
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
