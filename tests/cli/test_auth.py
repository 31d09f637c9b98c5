"""Signing in and out."""

import json
import stat
from pathlib import Path

import pytest
from tests.cli.conftest import Keystead
from tests.fakes.region import Region, Server


def test_login_saves_profile_and_token(keystead: Keystead, server: Server, home: Path) -> None:
    ran = keystead(
        *("login", "--url", server.url, "--tenancy", "acme", "--user", "olivia", "-c", "prod", "--password-stdin"),
        stdin="correct horse\n",
    )
    assert ran.code == 0
    assert ran.out == f"signed in to {server.url} as olivia of acme until 2026-01-31T13:00:00.000Z\n"
    token = home / "tokens" / "default.json"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700
    assert json.loads(token.read_text())["token"] == "token-1"
    config = (home / "config.toml").read_text()
    assert (
        f'[profiles.default]\nurl = "{server.url}"\ntenancy = "acme"\nuser = "olivia"\ncompartment = "prod"\n' == config
    )
    assert "correct horse" not in config + ran.out + ran.err
    assert "token-1" not in ran.out + ran.err


def test_second_login_needs_only_the_password(signed_in: Keystead, region: Region) -> None:
    assert signed_in("login", "--password-stdin", stdin="correct horse\n").code == 0
    assert region.last("POST", "/auth/tokens").body == {
        "tenancy": "acme",
        "user": "olivia",
        "password": "correct horse",
        "device": "",
    }


def test_wrong_password_is_exit_3_and_saves_nothing(keystead: Keystead, server: Server, home: Path) -> None:
    ran = keystead(
        *("login", "--url", server.url, "--tenancy", "acme", "--user", "olivia", "--password-stdin"), stdin="wrong\n"
    )
    assert ran.code == 3
    assert "error: tenancy, user or password is wrong [SignInFailed]" in ran.err
    assert "request id: ks1.request." in ran.err
    assert not home.exists()


def test_what_is_missing_is_asked_for_or_named(keystead: Keystead, server: Server) -> None:
    ran = keystead("login", "--url", server.url, "--tenancy", "acme", "--password-stdin", stdin="x\n")
    assert (ran.code, ran.err) == (2, "error: --user is missing\n")


def test_a_password_cannot_come_from_nobody(keystead: Keystead, server: Server) -> None:
    ran = keystead("login", "--url", server.url, "--tenancy", "acme", "--user", "olivia")
    assert ran.code == 2
    assert "--password-stdin" in ran.err


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com:8080",
        "ftp://127.0.0.1",
        "https://",
        "https://h:1/path",
        "https://u:p@h",
        "unix:relative",
        "h",
    ],
)
def test_urls_that_are_not_used(keystead: Keystead, url: str) -> None:
    ran = keystead("login", "--url", url, "--tenancy", "a", "--user", "b", "--password-stdin", stdin="x\n")
    assert ran.code == 2, ran


def test_https_needs_a_ca_file(keystead: Keystead) -> None:
    ran = keystead(
        "login", "--url", "https://127.0.0.1:1", "--tenancy", "a", "--user", "b", "--password-stdin", stdin="x"
    )
    assert ran.code == 2
    assert "no CA file" in ran.err


def test_logout_voids_and_forgets(signed_in: Keystead, region: Region, home: Path) -> None:
    ran = signed_in("logout")
    assert (ran.code, ran.out) == (0, "olivia is signed out\n")
    assert region.tokens == {}
    assert not (home / "tokens" / "default.json").exists()
    ran = signed_in("whoami")
    assert ran.code == 3
    assert "you are not signed in" in ran.err


def test_logout_while_the_region_is_away_says_so(signed_in: Keystead, server: Server, home: Path) -> None:
    server.close()
    ran = signed_in("logout")
    assert ran.code == 6
    assert "only forgotten here" in ran.err
    assert "2026-01-31T13:00:00.000Z" in ran.err
    assert not (home / "tokens" / "default.json").exists()


def test_expired_token_says_until_when_it_was_valid(signed_in: Keystead, region: Region) -> None:
    region.tokens.clear()
    ran = signed_in("whoami")
    assert ran.code == 3
    assert "the token is expired or void" in ran.err
    assert "valid until 2026-01-31T13:00:00.000Z; run `keystead login`" in ran.err


def test_whoami(signed_in: Keystead) -> None:
    assert "olivia" in signed_in("whoami").out
    assert signed_in("whoami", "--json").json["name"] == "olivia"
    assert signed_in("--json", "whoami").json["name"] == "olivia"


def test_status_signed_in_and_out(signed_in: Keystead, region: Region) -> None:
    told = signed_in("status", "--json").json
    assert (told["status"], told["signed_in"], told["user"]) == ("ok", True, "olivia")
    assert "token" not in told
    signed_in("logout")
    assert signed_in("status", "--json").json["signed_in"] is False
    region.status = "sealed"
    assert signed_in("status").code == 6


def test_status_of_a_region_that_is_away(signed_in: Keystead, server: Server) -> None:
    server.close()
    ran = signed_in("status")
    assert ran.code == 6
    assert "cannot reach the region" in ran.err
    assert "connection refused" in ran.err


def test_a_token_is_not_sent_to_another_url(signed_in: Keystead, region: Region, home: Path) -> None:
    other = Server(Region())
    try:
        config = home / "config.toml"
        lines = [f'url = "{other.url}"' if line.startswith("url") else line for line in config.read_text().splitlines()]
        config.write_text("\n".join(lines))
        ran = signed_in("whoami")
        assert ran.code == 3
        assert other.region.exchanges == []
    finally:
        other.close()


def test_a_token_that_others_may_read_is_not_used(signed_in: Keystead, home: Path) -> None:
    (home / "tokens" / "default.json").chmod(0o644)
    ran = signed_in("whoami")
    assert ran.code == 1
    assert "can be read by others" in ran.err


def test_a_second_factor_is_asked_for(signed_in: Keystead, region: Region) -> None:
    region.factors_asked = ["webauthn", "totp", "click"]
    ran = signed_in("login", "--password-stdin", "--factor", "totp:123456", stdin="correct horse\n")
    assert ran.code == 0
    assert region.last("POST", "/auth/factors").body == {
        "challenge": "ksc_challenge",
        "factor": "totp",
        "code": "123456",
        "device": "",
    }


def test_nobody_can_be_asked_for_the_factor(signed_in: Keystead, region: Region) -> None:
    region.factors_asked = ["totp"]
    ran = signed_in("login", "--password-stdin", stdin="correct horse\n")
    assert ran.code == 3 and "[FactorRequired]" in ran.err and "--factor" in ran.err


def test_a_factor_that_is_not_offered_is_named(signed_in: Keystead, region: Region) -> None:
    region.factors_asked = ["totp"]
    ran = signed_in("login", "--password-stdin", "--factor", "click", stdin="correct horse\n")
    assert ran.code == 2 and "totp" in ran.err


def test_another_device_is_waited_for(signed_in: Keystead, region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    region.factors_asked, region.asked_in_vain = ["totp", "click"], 2
    monkeypatch.setattr("keystead.cli.factors.POLL_S", 0.0)
    ran = signed_in("login", "--password-stdin", "--factor", "click", stdin="correct horse\n")
    assert ran.code == 0 and "Type 42 on a device" in ran.err


def test_the_device_is_kept_for_this_user_and_region_alone(home: Path) -> None:
    from keystead.cli.devices import DeviceFile

    file = DeviceFile("default")
    assert file.load("https://a", "ada") == ""
    file.save("https://a", "ada", "ksd_1")
    file.save("https://b", "ada", "ksd_2")
    assert (file.load("https://a", "ada"), file.load("https://b", "ada"), file.load("https://a", "bob")) == (
        "ksd_1",
        "ksd_2",
        "",
    )
    path = home / "devices" / "default.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    assert file.load("https://a", "ada") == ""
