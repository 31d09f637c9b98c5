"""Settings: what is known is taken, what is not is refused with its place."""

from pathlib import Path

import pytest

from keystead.core.errors import Refusal
from keystead.server import settings
from keystead.server.settings import Effective

FILE = Path("/srv/region/keystead.toml")
ROOT = Path(__file__).parents[2]


def parse(text: str = "", **environment: str) -> Effective:
    return settings.parse(text.encode(), FILE, environment)


def refused(text: str = "", **environment: str) -> Refusal:
    with pytest.raises(Refusal) as caught:
        parse(text, **environment)
    assert caught.value.code == "InvalidSettings"
    return caught.value


def test_an_empty_file_means_the_defaults() -> None:
    found = parse()
    assert found.settings.listen.port == 8470
    assert found.settings.listen.tls
    assert found.settings.access.lease_seconds == 10
    assert found.settings.access.grace_seconds == 900
    assert found.state == FILE.parent
    assert found.runtime == FILE.parent / "run"
    assert found.key_file is None
    assert found.url == "https://127.0.0.1:8470"


def test_the_environment_overrides_the_file() -> None:
    text = "[listen]\nport = 9000\nworkers = 3\n"
    found = parse(text, KEYSTEAD_LISTEN_PORT="9001", KEYSTEAD_LISTEN_TLS="false", KEYSTEAD_LISTEN_NAMES="a.example, b")
    assert (found.settings.listen.port, found.settings.listen.workers) == (9001, 3)
    assert not found.settings.listen.tls
    assert found.settings.listen.names == ["a.example", "b"]
    assert found.origins["listen.port"] == "environment"
    assert found.origins["listen.workers"] == "file"
    assert "listen.host" not in found.origins


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("[listn]\nport = 1\n", "no section [listn]", "sections: region"),
        ("[listen]\nprot = 1\n", "no setting 'prot'", "did you mean port?"),
        ("[listen]\nzzz = 1\n", "no setting 'zzz'", "it has: host"),
        ("listen = 3\n", "listen is a section", "[listen]"),
        ("[listen]\nport = 0\n", "[listen] port: expected `int` >= 1", ""),
        ("[listen]\nport = 'many'\n", "[listen] port: expected `int`", ""),
        ("[listen]\ntls = false\nhost = '0.0.0.0'\n", "on loopback only", "tls = true"),
        ("[audit]\nsync = 'never'\n", "[audit] sync: invalid enum value 'never'", ""),
        ("[region]\nname = 'Home!'\n", "[region] name: expected `str` matching", ""),
        ("[databases]\nports = '5-3'\n", "[databases] ports is not a range", ""),
        ("[databases]\nhost = 'db.example'\n", "[databases] host: expected `str` matching", ""),
        ("[databases]\nhost = '10.1.2.999'\n", "[databases] host is not an IP address", "this machine"),
        ("[databases]\nhost = '::'\n", "means other things", '"*"'),
        ("[databases]\nuids = 'many'\n", "[databases] uids: expected `str` matching", ""),
        (f"[databases]\ntmpfs_dir = '/dev/shm/{'x' * 60}'\n", "tmpfs_dir is too long", "107"),
        ("[unseal]\nkey_file = '/srv/region/root.key'\n", "lies in the state directory", "elsewhere"),
        ("[unseal]\nkey_file = 'root.key'\n", "absolute", ""),
        ("[listen\n", "is not TOML", ""),
    ],
)
def test_what_is_wrong_is_named(text: str, words: str, hint: str) -> None:
    error = refused(text)
    assert words in error.message
    assert hint in error.hint


def test_databases_are_reached_at_their_address_or_by_a_name_of_the_machine() -> None:
    def found(text: str) -> tuple[str, tuple[str, ...]]:
        effective = parse(text)
        return effective.database_name, effective.certificate_names

    assert found("[databases]\nhost = '10.1.2.3'\n[listen]\nnames = ['db.example']\n") == (
        "10.1.2.3",
        ("db.example", "10.1.2.3"),
    )
    assert found("[databases]\nhost = '*'\n[listen]\nnames = ['db.example']\n") == ("db.example", ("db.example",))
    assert found("[databases]\nhost = '0.0.0.0'\n")[1] == ()


def test_the_environment_is_checked_too() -> None:
    assert "KEYSTEAD_LISTEN_PROT is set" in refused(KEYSTEAD_LISTEN_PROT="1").message
    assert refused(KEYSTEAD_LISTEN_PORT="x").message.startswith("KEYSTEAD_LISTEN_PORT: [listen] port")


def test_the_command_lines_own_variables_are_left_alone() -> None:
    parse(KEYSTEAD_CONFIG="/x", KEYSTEAD_HOME="/y", KEYSTEAD_PROFILE="z", KEYSTEAD_SETTINGS="/w")


def test_a_missing_region_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(Refusal) as caught:
        settings.load(state=tmp_path, environment={})
    assert caught.value.code == "NoRegion"
    assert "keystead init" in caught.value.hint


def test_where_the_file_is_looked_for() -> None:
    find = settings.find_file
    assert find(Path("/a/b.toml"), Path("/c"), {"KEYSTEAD_SETTINGS": "/d"}) == Path("/a/b.toml")
    assert find(None, None, {"KEYSTEAD_SETTINGS": "/d/e.toml", "KEYSTEAD_STATE_DIR": "/f"}) == Path("/d/e.toml")
    assert find(None, Path("/c"), {"KEYSTEAD_SETTINGS": "/d"}) == Path("/c/keystead.toml")
    assert find(None, None, {"KEYSTEAD_STATE_DIR": "/f"}) == Path("/f/keystead.toml")


def test_the_state_that_was_asked_for_comes_before_the_environments(tmp_path: Path) -> None:
    (tmp_path / "keystead.toml").write_text("")
    assert settings.load(state=tmp_path, environment={"KEYSTEAD_STATE_DIR": "/elsewhere"}).state == tmp_path


def test_what_is_rendered_reads_back_the_same() -> None:
    text = '[listen]\nport = 9000\nnames = ["a.example"]\n[unseal]\nkey_file = "/etc/x \\"y\\".key"\n'
    found = parse(text).settings
    assert parse(settings.render(found)).settings == found


def test_the_page_about_settings_is_current() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    assert page == settings.page(), "write it anew: python -m keystead.server.settings > docs/settings.md"


@pytest.mark.parametrize(
    ("told", "where"),
    [
        ("unix:/run/keystead/p.sock", Path("/run/keystead/p.sock")),
        ("127.0.0.1:8472", ("127.0.0.1", 8472)),
        ("[::1]:8472", ("::1", 8472)),
        ("", None),
    ],
)
def test_where_the_private_listener_is(told: str, where: object, tmp_path: Path) -> None:
    made = settings.parse(f'[listen]\nprivate = "{told}"\n'.encode(), tmp_path / "keystead.toml", {})
    assert made.settings.listen.private_at == where


@pytest.mark.parametrize(
    "told", ["unix:relative.sock", "nowhere", "10.0.0.5:0", ":8472", "127.0.0.1:8470", "unix:/" + "x" * 200]
)
def test_a_private_listener_that_cannot_be(told: str, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="private"):
        settings.parse(f'[listen]\nprivate = "{told}"\n'.encode(), tmp_path / "keystead.toml", {})


def test_a_private_listener_without_tls_is_on_loopback(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="loopback"):
        settings.parse(b'[listen]\ntls = false\nprivate = "10.0.0.5:8472"\n', tmp_path / "keystead.toml", {})
