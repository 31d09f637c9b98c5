"""The command line and the region in memory keep to the real table of operations.

Every command is run; each request it made must be one that the real API would decode, each answer it was given one
that the real API could have sent, and together the commands reach every operation that is meant for people.
"""

import json
import threading
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from tests.cli.conftest import Keystead
from tests.cli.test_console import entry
from tests.cli.test_databases import REPORT
from tests.fakes.region import MOMENT, Exchange, Region

from keystead.web.api import TABLE
from keystead.web.messages import read_body, read_query
from keystead.web.operations import Operation, Router, read_parameters

pytestmark = pytest.mark.slow

PEOPLE = {operation.name for operation in TABLE if operation.tag != "host"}
PEOPLE -= {"GetOpenApi", "GetJwks", "FederatedSignInCallback"}

SESSION = """
status
whoami
compartment create prod --description all
compartment list
compartment show prod
compartment tag prod --tag ops.env=prod --if-match 1
user create ada --description analyst
user list
user show ada
user block ada
user unblock ada --if-match 2
user reset-password ada
user revoke-tokens ada
user auth-token-create ada app --days 30
user auth-token-list ada
user auth-token-delete ada app
user api-key-create ada app --public-key -
user api-key-list ada
user api-key-delete ada app
device list --user ada
device forget ks1.device.main.home.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa --user ada --yes
session list
session token --minutes 5
session end current
login --refresh
login --device
group create dbas
group list
group show dbas
group add-member dbas ada
group members dbas
group remove-member dbas ada
group update dbas --break-glass 30m --description databases
group tag dbas --tag Ops.Team=dba --tag note=x
group add-member dbas ada --for 30m --reason down
group break-glass list --group dbas
group break-glass end dbas ada
identity-provider create okta --issuer https://id.example.com --client-id k --client-secret-file - --just-in-time
identity-provider list
identity-provider show okta
identity-provider update okta --scopes openid,groups --groups-claim roles --trust-factors --if-match 1
identity-provider map-group okta dba dbas --precedence 10
identity-provider unmap-group okta dba dbas
identity-provider link okta ada s-1
identity-provider links okta
identity-provider unlink okta ada
identity-provider disable okta
identity-provider enable okta
identity-provider delete okta -y
approval rule create two -o destruction --group dbas --needed 2
approval rule list
approval rule show two
approval rule update two -o restore --group dbas --needed 1 --approval APPROVAL
approval rule delete two -y
approval list --mine
approval show APPROVAL
approval approve APPROVAL --comment fine
approval reject APPROVAL
approval withdraw APPROVAL
group delete dbas -y
factor enrol-totp phone
factor list
factor enrol-webauthn stick
factor recovery-codes
factor pending
factor answer 42
factor deny ks1.signin.main.home.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
factor settings --factor-from medium
policy create p -s x --description y
policy list
policy show p
policy update p -s z --if-match 1
policy add-statement p w
policy explain ada KEY_DECRYPT prod
policy who-can KEY_DECRYPT prod
policy simulate -s x --replace p
policy unused --days 30
policy duties
policy delete p -y
dynamic-group create apps ALL{resource.type='mysqldbsystem'} --description y
dynamic-group list
dynamic-group show apps
dynamic-group update apps ANY{resource.type='mysqldbsystem'} --if-match 1
dynamic-group delete apps -y
network-source create office 192.0.2.0/24 2001:db8::/32
network-source list
network-source show office
network-source update office 192.0.2.0/25
network-source delete office -y
tenancy create globex --admin ada
tenancy list
tenancy show globex
vault create v
vault list
vault show v
key create k -v v --algorithm AES-256
key list
key show k
key versions k
key rotate k
key disable k
key enable k --if-match 3
key encrypt k -a context
key wrap k
key generate-data-key k
key decrypt k
key unwrap k
key rewrap k
key update k --operations encrypt,decrypt --not-before 2026-01-01 --expires-at 2030-01-01T00:00:00Z --if-match 4
key update k --expires-at none --not-before none --operations all --rotation-days 90 --minimum-version 1
key update k --retention-days 30 --purge-protection --tag team=dba --tag env=prod
key inventory k
key inventory k --version 1
key impact k --if disable
key impact k --if delete --version 1
key usage k --days 7
vault inventory v
key schedule-deletion k --days 7 --confirm-needed-by 3
key cancel-deletion k
key delete k -y
key recover k
key enable k
key lock k
key lock k --read-only
key unlock k
key move k --to /
key version k 1
key disable-version k 1
key enable-version k 1
key schedule-version-deletion k 1 --days 7 --confirm-needed-by 2
key cancel-version-deletion k 1
vault create w --private --protection software --key-limit 10 --network 192.0.2.0/24 --retention-days 7 --tag a=b
vault update w --trusted-service databases --key-limit 0 --network '' --purge-protection
vault schedule-deletion w
vault cancel-deletion w
vault delete w -y --confirm-needed-by 1
vault recover w
vault lock w
vault unlock w
vault move w --to /
vault delete w -y
vault purge w -y --confirm-needed-by 1
key import mine -v v --in key.bin --rotation-days 90 --operations wrap,unwrap --tag from=hsm
key import mine --new-version --in key.bin --if-match 1
key import-params -v v --algorithm AES-256 --hours 2 -o params.json
key import-params -k mine --wrapping HPKE-X25519-MLKEM768
key wrap-material --params params.json --in key.bin -o wrapped.json
key import other -v v --wrapped wrapped.json --protection software
key backup mine mine.backup
key restore mine.backup --name again --vault v -c /
vault backup v v.backup --leave-out
vault restore v.backup -c /
key create s -v v --algorithm ED25519
key sign s --scheme ED25519
key verify s -s - -i /dev/null
key public s --key-version 1
key batch k encrypt
key batch k wrap --atomic
key batch k decrypt
key batch k unwrap
key batch k rewrap
key batch s sign --scheme ED25519
key batch s verify --key-version 1
key delete s -y
key purge s -y --confirm-needed-by 3
random 16 --vault v
db create s -k k --admin root1 --memory 256 --protect
db list
db show s
db stop s
db start s
db restart s --if-match 1
db unprotect s
db protect s
db tag s --tag ops.env=prod
db follow-key s
db unfollow-key s
db change-key s --service-managed
db change-key s --key k
db rotate-data-keys s
db verify s
db revalidate s
db revoke-tokens s
db delete-identity s -y
db restore-identity s
db confirm s
db keys s
db fence-receipt s
db map-user s ada --role reader
db mappings s
db unmap s ada
db doctor s
db token
db token s --for mariadb
db unprotect s
backup create s -n b -k k
backup list
backup show b
backup restore b -n copy -k k --admin root1 --memory 256
job list --limit 3
backup delete b -y
db delete s -y
user delete ada -y
audit list --principal olivia --action KEY_ROTATE --resource k --outcome allowed --since 1h --until 2099-01-01T00:00:00Z
audit verify
token-key rotate
token-key rotate --at-once -y
seal status
seal now -y
unseal --stdin --reset
unseal --with passphrase --stdin
"""

APPROVAL = f"ks1.approval.main.home.{'a' * 32}"
ITEMS = {
    "encrypt": b'{"plaintext": "YWJj", "associated_data": "YWJj"}',
    "wrap": b'{"key_material": "YWJj"}',
    "decrypt": b'{"ciphertext": "fGFiYw=="}',
    "unwrap": b'{"ciphertext": "fGFiYw=="}\n\n{"ciphertext": "fGFiYw=="}',
    "rewrap": b'{"ciphertext": "fGFiYw=="}',
    "sign": b'{"message": "YWJj"}',
    "verify": b'{"message": "YWJj", "signature": "YWJj"}',
}


@pytest.fixture
def exchanges(signed_in: Keystead, region: Region, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Exchange]:
    """What went over the wire in a session that uses everything."""
    region.entries = [entry(outcome="allowed")]
    Path("key.bin").write_bytes(bytes(range(32)))
    region.results["verify"] = {"report": json.dumps(REPORT)}
    fence = {"db_system_id": "s", "reason": "key_disabled", "reason_text": "", "committed_at": MOMENT}
    region.fences["s"] = {**fence, "steps": [{"name": "committed", "after_ms": 0.0}]}
    monkeypatch.setattr("keystead.cli.connect.os.execv", lambda *_: None)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    for line in SESSION.strip().replace("APPROVAL", APPROVAL).splitlines():
        if line == "key verify s -s - -i /dev/null":
            assert signed_in(*line.split(), stdin=b"c2lnbmVkfA==").code == 0
            continue
        if line.startswith("key batch"):
            ran = signed_in(*line.split(), stdin=ITEMS[line.split()[3]])
            assert ran.code == 0, f"{line}: {ran.err}"
            continue
        given = b"fGFiYw==" if line.split()[:2][-1] in {"decrypt", "unwrap", "rewrap"} else b"abc"
        ran = signed_in(*line.split(), stdin=given)
        assert ran.code == 0, f"{line}: {ran.err}"
    monkeypatch.setattr("keystead.cli.auth.open_browser", lambda _: come_back(region))
    (factor, _) = region.things["factor"]
    for line in (
        "login --provider okta",
        f"factor confirm {factor} --code 123456",
        f"factor remove {factor} -y",
        "db connect copy",
        f"state backup {tmp_path / 'state'}",
        "logout",
    ):
        ran = signed_in(*line.split())
        assert ran.code == 0, f"{line}: {ran.err}"
    region.factors_asked = ["webauthn", "totp", "click"]
    assert signed_in("login", "--password-stdin", "--factor", "click", stdin="correct horse\n").code == 0
    return region.exchanges


def test_every_request_and_answer_fits_the_real_table(exchanges: list[Exchange]) -> None:
    router = Router(TABLE)
    used: set[str] = set()
    for seen in exchanges:
        operation = check_request(router, seen)
        used.add(operation.name)
        if operation.name == "SignIn" and seen.status == 401:
            continue  # a second factor is asked for
        assert seen.status == operation.status, operation.name
        if operation.reply is not None:
            check_reply(operation, seen.reply)
    assert used == PEOPLE


def come_back(region: Region) -> bool:
    """The browser of somebody who has signed in at the provider."""
    url = f"{region.began['redirect_uri']}?code=one-time&state={region.began['state']}"
    threading.Thread(target=lambda: urllib.request.urlopen(url).read(), daemon=True).start()
    return True


def check_request(router: Router, seen: Exchange) -> Operation:
    parts = urlsplit(seen.target)
    found = router.find(seen.method, parts.path)
    assert found is not None, seen.target
    assert found.operation is not None, seen.target
    operation = found.operation
    read_parameters(operation, found.values)
    read_query(operation.query, parts.query.encode())
    if operation.decoder is None:
        assert seen.raw == b"", operation.name
    elif seen.raw or operation.body_required:
        read_body(operation.decoder, seen.raw)
    assert ("Idempotency-Key" in seen.headers) == operation.creates, operation.name
    if "If-Match" in seen.headers:
        assert operation.moves, operation.name
    return operation


def check_reply(operation: Operation, reply: Any) -> None:
    try:
        msgspec.convert(reply, operation.reply, strict=True)
    except msgspec.ValidationError as error:
        pytest.fail(f"{operation.name}: {error}: {reply}")
