"""The configuration file."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.cli.conftest import Keystead

from keystead.cli.exits import CliError
from keystead.cli.profile import Profile, Profiles

OTHERS = """# mine
default_profile = "work"

[profiles.default]
url = "https://old:1"  # the old one

# about work
[profiles.work]
url = "https://w:1"
"""


def test_writing_one_profile_leaves_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(OTHERS)
    profiles = Profiles(path)
    profiles.save("work", Profile(url="https://w:2", user='o"l\\i\nvíà\U0001f511'))
    assert path.read_text().startswith(OTHERS[: OTHERS.index("[profiles.work]")])
    assert profiles.load("work") == Profile(url="https://w:2", user='o"l\\i\nvíà\U0001f511')
    profiles.save("third", Profile(url="https://t:1"))
    assert profiles.load("default").url == "https://old:1"
    assert profiles.load("third").url == "https://t:1"
    profiles.save("default", Profile(url="https://d:1"))
    assert profiles.load("work").url == "https://w:2"
    assert "\n# about work\n" in path.read_text()
    assert path.read_text().startswith("# mine\n")
    before = path.stat().st_mtime_ns
    profiles.save("default", Profile(url="https://d:1"))
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("url = 1", "unknown setting 'url'"),
        ("[profiles.default]\nurll = 'x'", "unknown setting 'urll'"),
        ("[profiles.default]\nurl = 1", "url in [profiles.default] is not a string"),
        ("profiles = 1", "is not a table"),
        ("[profiles]\ndefault = 1", "is not a table"),
        ("[", "config.toml"),
    ],
)
def test_bad_files_are_told(home: Path, keystead: Keystead, text: str, wrong: str) -> None:
    home.mkdir()
    (home / "config.toml").write_text(text)
    ran = keystead("whoami")
    assert ran.code == 2
    assert wrong in ran.err


def test_a_profile_written_in_another_form_is_not_mangled(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('profiles = {default = {url = "https://a:1"}}\n')
    with pytest.raises(CliError):
        Profiles(path).save("default", Profile(url="https://b:1"))
    assert path.read_text() == 'profiles = {default = {url = "https://a:1"}}\n'


def test_which_profile(home: Path, keystead: Keystead, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir()
    (home / "config.toml").write_text(OTHERS)
    assert "keystead --profile work login" in keystead("whoami").err
    monkeypatch.setenv("KEYSTEAD_PROFILE", "lab")
    assert "profile 'lab' does not say where" in keystead("status").err
    assert "profile 'other' does not" in keystead("--profile", "other", "status").err
    assert keystead("--profile", "../x", "status").code == 2


def test_profiles_written_at_once_are_all_there(tmp_path: Path) -> None:
    path = tmp_path / "home" / "config.toml"
    names = [f"p{number}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: Profiles(path).save(name, Profile(url=f"https://{name}:1")), names))
    assert [Profiles(path).load(name).url for name in names] == [f"https://{name}:1" for name in names]
