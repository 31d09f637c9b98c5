"""Auth tokens: made, shown once, counted, listed, deleted. Logging in with them: tests/dialects/test_vault.py."""

from pathlib import Path

import pytest
from tests.fakes.domain import DomainRegion, make_region

from keystead.core.errors import Refusal
from keystead.core.page import PageRequest
from keystead.core.secret import Secret


@pytest.fixture
def region(tmp_path: Path) -> DomainRegion:
    return make_region(tmp_path)


def test_only_a_hash_is_kept_and_the_text_is_long(region: DomainRegion, tmp_path: Path) -> None:
    user, _ = region.iam.create_user(region.admin, "app")
    made, text = region.iam.create_auth_token(region.admin, user.id, "first", days=7)
    secret = text.reveal().split(b"_", 2)[2]
    assert len(secret) == 43 and text.reveal().startswith(b"ksa_")
    assert (made.expires_at - made.created_at).days == 7
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert secret not in kept and made.id.encode() in kept


def test_limits(region: DomainRegion) -> None:
    user, _ = region.iam.create_user(region.admin, "app")
    for days in (0, 366):
        with pytest.raises(Refusal, match="1 to 365 days"):
            region.iam.create_auth_token(region.admin, user.id, "t", days=days)
    for number in range(10):
        region.iam.create_auth_token(region.admin, user.id, f"t{number}")
    with pytest.raises(Refusal, match="already a token named"):
        region.iam.create_auth_token(region.admin, user.id, "t0")
    with pytest.raises(Refusal, match="no more are kept"):
        region.iam.create_auth_token(region.admin, user.id, "t10")
    page = region.iam.list_auth_tokens(region.admin, user.id, PageRequest(4))
    assert [token.name for token in page.items] == ["t0", "t1", "t2", "t3"] and page.next


def test_another_users_token_is_not_deleted_through_a_user(region: DomainRegion) -> None:
    one, _ = region.iam.create_user(region.admin, "one")
    two, _ = region.iam.create_user(region.admin, "two")
    made, text = region.iam.create_auth_token(region.admin, one.id, "t")
    with pytest.raises(Refusal, match="does not exist"):
        region.iam.delete_auth_token(region.admin, two.id, made.id)
    assert region.iam.sign_in_with_auth_token(one.id, text, "", "r").principal_id == one.id
    region.iam.delete_auth_token(region.admin, one.id, made.id)
    for given in (text, Secret(b"ksa_"), Secret(b"\xff"), Secret(b"ksa_" + b"a" * 5000)):
        with pytest.raises(Refusal, match="wrong"):
            region.iam.sign_in_with_auth_token(one.id, given, "", "r")


@pytest.mark.parametrize("act", ["revoke_user_tokens", "reset_password"])
def test_they_go_when_a_users_tokens_are_revoked(region: DomainRegion, act: str) -> None:
    """Else whoever holds one would sign in again at once. Those of others stay."""
    users = [region.iam.create_user(region.admin, name)[0] for name in ("one", "two")]
    texts = [region.iam.create_auth_token(region.admin, user.id, "t")[1] for user in users]
    getattr(region.iam, act)(region.admin, users[0].id)
    region.clock.advance(1)
    with pytest.raises(Refusal, match="wrong"):
        region.iam.sign_in_with_auth_token(users[0].id, texts[0], "", "r")
    assert not region.iam.list_auth_tokens(region.admin, users[0].id, PageRequest(4)).items
    assert region.iam.sign_in_with_auth_token(users[1].id, texts[1], "", "r").principal_id == users[1].id
