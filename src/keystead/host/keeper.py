"""The keeper of one node: brings what is in line with what is wanted, and fences.

Invariants:
- Data keys are in memory here only while access stands; `fence` wipes them.
- A token lives exactly as long as the process it was made for: voided before a kill, made anew for each start.
- `fence` waits for nothing: it voids and kills first, whatever step is under way, and takes the lock only to clean up.
  Each fence advances the epoch; a step that began in an earlier one is given no keys and undoes what it did.
- A fence that could not be carried through is due again; what it cannot do to clients (the responder) ends none.
"""

import os
import secrets
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from hashlib import sha256

from keystead.core.clock import Clock
from keystead.core.errors import Fault, KeysteadError, Refusal
from keystead.core.secret import Secret
from keystead.databases.config import mount_of
from keystead.databases.desk import Report, SystemView
from keystead.databases.hierarchy import StoreKey
from keystead.databases.model import FenceReceipt
from keystead.databases.node import Credentials, Node, Progress
from keystead.databases.plan import Act, Observed, Standing, decide
from keystead.host.endpoint import NodeKeys
from keystead.host.ports import Desk, Endpoint, Identities, Logins, NoIdentities, NoLogins, Responder

BACKOFF = (0.0, 1.0, 2.0, 5.0, 15.0, 60.0)
FAILED_AFTER = 4
LOGINS_RETRY = 2.0


class Keeper:
    """Keeps one node."""

    def __init__(
        self,
        view: SystemView,
        region: str,
        node: Node,
        desk: Desk,
        endpoint: Endpoint,
        responder: Responder,
        clock: Clock,
        logins: Logins | None = None,
        identities: Identities | None = None,
    ) -> None:
        self._logins = logins or NoLogins()
        self._identities = identities or NoIdentities()
        self._accounts_for: object = None
        self._logins_retry_at = 0.0
        self._view = view
        self._region = region
        self._node = node
        self._desk = desk
        self._endpoint = endpoint
        self._responder = responder
        self._clock = clock
        self._doing = threading.RLock()
        self._fencing = threading.Lock()
        self._gate = threading.Lock()  # held for moments: what a fence takes away is not handed out beside it
        self._fenced = False
        self._wiped = False
        self._epoch = 0
        self._loss = ("", "")
        self._store_key: StoreKey | None = None
        self._token: bytes | None = node.adopt()
        if self._token is not None:
            self._open_doors()
        else:  # what an earlier life of ours offered
            self._identities.close(view.system.id, node)
        self._receipt: FenceReceipt | None = None
        self._told = False
        self._failures = 0
        self._retry_at = 0.0
        self._answered = clock.monotonic()

    @property
    def silence(self) -> float:
        """Seconds since the desk last had an answer about the key itself, as far as the desk was heard."""
        return self._clock.monotonic() - self._answered if self._view.unanswered else 0.0

    @property
    def troubled(self) -> bool:
        """Whether bringing it in line may take long: its key does not answer, or its last start failed."""
        return self._view.unanswered or self._failures > 0

    @property
    def view(self) -> SystemView:
        return self._view

    def update(self, view: SystemView) -> None:
        """A newer view. New data keys are served at once."""
        with self._gate:
            published = view.data_keys != self._view.data_keys
            self._view = view
            if not view.unanswered:
                self._answered = self._clock.monotonic()
            self._told = False
            if published and self._token is not None:
                self._serve_keys(self._token)

    def due(self, standing: Standing) -> Act:
        """What is to be done next."""
        return decide(self._view.system.desired, self._observe(), standing)

    def reconcile(self, standing: Standing) -> None:
        """Do what is due, and tell the desk what it does not know yet."""
        match self.due(standing):
            case "fence":
                if standing.granted:
                    whole = f"the vault has not answered for {standing.silence:.0f} s"
                    self.fence("vault_unreachable", self._view.text if self._view.unanswered else whole, None)
                else:
                    self.fence(self._view.loss, self._view.text, self._view.since)
            case "start":
                self._start_if_due()
            case "stop":
                if self._doing.acquire(blocking=False):
                    try:
                        self.stop()
                    finally:
                        self._doing.release()
            case "nothing":
                if self._node.running() and standing.granted and self._store_key is None:
                    self._resume()
                if self._node.running():
                    self._identities.follow(self._view.system.id, self._view.void_until)
                    self._put_logins()
                else:
                    self._bury()
        self._tell()

    def fence(self, reason: str, text: str, since: datetime | None) -> FenceReceipt:
        """Take the node's keys and its process away (law 7). Returns what was done when."""
        with self._fencing:
            if self._receipt is not None and self._fenced and not self._node.running():
                return self._receipt  # somebody was faster
            had = self._node.running() or self._view.system.state != "INACCESSIBLE"
            seen = self._clock.now()
            committed = min(since, seen) if since is not None else seen
            steps: list[tuple[str, float]] = [("committed", 0.0)]

            def done(step: str) -> None:
                steps.append((step, (self._clock.now() - committed).total_seconds() * 1000))

            self._take_keys(reason, text)
            done("endpoint_closed")
            self._node.kill()
            if not self._node.running():
                done("process_gone")
            with self._doing:
                if self._fenced:  # else access came back while we waited, and it was started again
                    self._token = None
                    if self._node.silent(5.0):
                        done("socket_closed")
                    if self._start_is_refused():
                        done("restart_refused")
                    self._node.wipe()
                    done("wiped")
                    self._wiped = True
                    with suppress(OSError):  # somebody else has the port: clients are told nothing, and that is all
                        self._responder.open(self._view.system.port, self._explain())
            receipt = FenceReceipt(self._view.system.id, reason, text, committed, tuple(steps))
            if had:  # else it was fenced before we came, and the receipt of that stands
                self._receipt = receipt
            return receipt

    def _start_is_refused(self) -> bool:
        """Whether a start was tried and seen refused; on a full disk it cannot be tried, and the fence goes on."""
        try:
            return self._node.prepared() and self._node.refuses_start(self._void_credentials())
        except (KeysteadError, OSError):
            return False

    def forget(self) -> None:
        """The desk knows the system no more: nothing of it may go on. What it left on the disk stays."""
        self._take_keys("key_gone", "the region does not know it")
        self._node.kill()
        self._responder.close(self._view.system.port)

    # steps of jobs

    def apply(self, step: str, progress: Progress, arguments: Mapping[str, str]) -> Mapping[str, str]:
        """One step of a job. Raises: Refusal `AccessLost` when access is, or goes, away."""
        steps: dict[str, Callable[[], Mapping[str, str] | None]] = {
            "prepare": self.prepare,
            "start": self.start,
            "stop": self.stop,
            "restart": self.restart,
            "accounts": self._accounts,
            "adopt": lambda: self._node.drop_administrator(arguments["administrator"]),
            "reencrypt": lambda: self._reencrypt(progress),
            "verify": lambda: self._node.verify(
                progress, self._samples(arguments.get("samples", "")), arguments.get("backups", "").split()
            ),
            "checksums": self._checksums,
            "discard": self.discard,
        }
        if step not in steps:
            raise Refusal("UnknownStep", f"there is no step {step!r}")
        if step == "verify":  # it only reads, for as long as that takes: a fence need not wait for it
            return steps[step]() or {}
        with self._step(needs_access=step not in ("discard", "stop")):
            return steps[step]() or {}

    def prepare(self) -> None:
        """Build the data directory; a half-built one is built anew."""
        if self._node.prepared():
            return
        credentials = self._credentials()
        try:
            self._node.prepare(credentials)
        finally:
            self._endpoint.dismiss(sha256(credentials.token.reveal()).digest(), self._mount)

    def start(self) -> None:
        """Start the server and wait until it answers; one that runs already is left alone."""
        if self._node.running():
            return
        epoch = self._epoch
        credentials = self._credentials()
        self._responder.close(self._view.system.port)
        try:
            self._node.start(credentials)
        except BaseException:
            self._endpoint.void(self._mount)
            raise
        with self._gate:
            lost = self._epoch != epoch  # while it started
            if not lost:
                self._token = sha256(credentials.token.reveal()).digest()
                self._serve_keys(self._token)  # with those that were published meanwhile
                self._fenced = self._wiped = False
        if lost:
            self._endpoint.void(self._mount)
            self._node.kill()
            raise self._access_lost()
        self._failures = 0
        self._open_doors()
        with self._gate:
            lost = self._epoch != epoch
        if lost:  # a fence came before they were open, and had nothing to close
            self._close_doors()
            raise self._access_lost()
        self._accounts_for = None

    def stop(self) -> None:
        """A clean shutdown; the keys go with it."""
        self._close_doors()
        self._node.stop()
        self._endpoint.void(self._mount)
        self._token, self._store_key = None, None

    def restart(self) -> None:
        self.stop()
        self.start()

    def discard(self) -> None:
        """Remove the server and all it has on this machine."""
        self._close_doors()
        self._endpoint.void(self._mount)
        self._responder.close(self._view.system.port)
        self._node.kill()
        self._token, self._store_key = None, None
        self._node.discard()

    def backup(self) -> Generator[bytes, None, None]:
        """A physical backup as a stream; the child has a token of its own for as long as it runs."""
        with self._step(needs_access=True):
            token = self._credentials().token
            try:
                yield from self._node.backup(token)
            finally:
                self._endpoint.dismiss(sha256(token.reveal()).digest(), self._mount)

    def restore(self, chunks: Iterator[bytes]) -> Mapping[str, str]:
        """Build the data directory from a backup's stream."""
        with self._step(needs_access=True):
            if self._node.prepared():
                return {}
            credentials = self._credentials()
            try:
                return self._node.restore(chunks, credentials)
            finally:
                self._endpoint.dismiss(sha256(credentials.token.reveal()).digest(), self._mount)

    # how

    @property
    def _mount(self) -> str:
        return mount_of(self._view.system.tenancy, self._view.system.id)

    def _open_doors(self) -> None:
        """The server runs: it may ask about logins, and has its identity."""
        self._logins.open(self._view.system.id, self._node)
        self._identities.open(self._view.system.id, self._node, self._view.void_until)

    def _close_doors(self) -> None:
        self._logins.close(self._view.system.id)
        self._identities.close(self._view.system.id, self._node)

    def _observe(self) -> Observed:
        return Observed(self._node.prepared(), self._node.running(), self._fenced and self._wiped)

    @contextmanager
    def _step(self, *, needs_access: bool) -> Iterator[None]:
        """One step at a time; what fails because of a fence is told as the loss of access."""
        with self._doing:
            if needs_access and not self._view.granted:
                raise self._access_lost()
            epoch = self._epoch
            try:
                yield
            except KeysteadError as error:
                if needs_access and self._epoch != epoch:
                    raise self._access_lost() from error
                raise

    def _start_if_due(self) -> None:
        """Start, unless a step is under way or the last failure is too recent."""
        self._bury()
        if self._clock.monotonic() < self._retry_at or not self._doing.acquire(blocking=False):
            return
        epoch = self._epoch
        try:
            self.start()
        except KeysteadError as error:
            with self._gate:
                if self._epoch != epoch:  # a fence came between: what it says is why
                    return
                self._loss = ("start_failed", error.message)
            self._failures += 1
            self._retry_at = self._clock.monotonic() + BACKOFF[min(self._failures, len(BACKOFF) - 1)]
            if self._failures == FAILED_AFTER:
                self._report(Report(self._view.system.id, "failed", "start_failed", error.message))
        finally:
            self._doing.release()

    def _bury(self) -> None:
        """Take away what was made for a server that has died, whether or not another may be started."""
        if self._token is None or not self._doing.acquire(blocking=False):
            return
        try:
            if not self._node.running():
                self._token = None
                self._endpoint.void(self._mount)
                self._close_doors()
        finally:
            self._doing.release()

    def _resume(self) -> None:
        """Serve the keys of a server that an earlier life of ours started."""
        if self._token is None:
            return
        with suppress(KeysteadError):  # asked again with the next watch; until then it lives on what it has cached
            self._open(self._token)

    def _take_keys(self, reason: str, text: str) -> None:
        """From here on nothing is served, whatever is under way."""
        with self._gate:
            self._fenced, self._wiped = True, False
            self._epoch += 1
            self._loss = (reason, text)
            self._store_key = None
        with suppress(
            OSError, RuntimeError
        ):  # its loop hangs or has ended: the tokens were forgotten before it was asked
            self._endpoint.void(self._mount)
        with suppress(Exception):  # whatever is wrong there, the process goes next
            self._close_doors()

    def _open(self, token_sha256: bytes | None = None) -> "_OpenedNode":
        """Open the hierarchy, and serve it to this token. Raises: Refusal; `AccessLost` when a fence came between."""
        epoch = self._epoch
        opened = self._desk.open_store_key(self._view.system.id)
        material = Secret(opened.store_key)
        system = self._view.system
        store_key = StoreKey(material, system.tenancy, self._region, system.id)
        material.wipe()
        with self._gate:
            if self._epoch != epoch or not self._view.granted:
                raise self._access_lost()
            self._store_key = store_key
            if token_sha256 is not None:
                self._serve_keys(token_sha256)
        return _OpenedNode(opened.tls_key, opened.tls_certificate, opened.authority)

    def _credentials(self) -> Credentials:
        """Open the hierarchy and make a token that the endpoint answers. Raises: Refusal."""
        token = Secret(secrets.token_urlsafe(32).encode())
        opened = self._open(sha256(token.reveal()).digest())
        return Credentials(token, opened.tls_key, opened.tls_certificate, opened.authority)

    def _void_credentials(self) -> Credentials:
        return Credentials(Secret(secrets.token_urlsafe(32).encode()), b"", b"", b"")

    def _serve_keys(self, token_sha256: bytes) -> None:
        """Have the endpoint answer this token, while the hierarchy is open. The gate is held."""
        store_key = self._store_key
        if store_key is None:
            return
        versions = {(key.slot, key.number): store_key.open(key) for key in self._view.data_keys}
        latest = {key.slot: key.number for key in self._view.data_keys if key.latest}
        uid = self._view.system.uid or os.getuid()  # 0: no uids are given out here, its processes run as we do
        self._endpoint.admit(token_sha256, self._mount, NodeKeys(versions, latest, uid))

    def _put_logins(self) -> None:
        """Bring accounts for logins with tokens in line, once for each set of mappings, unless a step is under way."""
        wanted = frozenset(mapping.id for mapping in self._view.logins)
        if wanted == self._accounts_for or self._clock.monotonic() < self._logins_retry_at:
            return
        if not self._doing.acquire(blocking=False):
            return
        try:
            self._logins.put(self._view.system.id, self._node, self._view.logins)
            self._accounts_for = wanted
        except (KeysteadError, OSError):
            self._logins_retry_at = self._clock.monotonic() + LOGINS_RETRY
        finally:
            self._doing.release()

    def _accounts(self) -> None:
        self._node.put_administrator(self._view.system.admin_username, self._view.admin_password_hash)

    def _reencrypt(self, progress: Progress) -> Mapping[str, str]:
        number = max((key.number for key in self._view.data_keys if key.latest), default=0)
        return self._node.reencrypt(number, progress)

    def _samples(self, sealed: str) -> tuple[bytes, ...]:
        """What a verification is to look for beside canaries. Raises: Refusal while the store key may not be had."""
        if not sealed:
            return ()
        if self._store_key is None:
            self._open()
        return self._store_key.open_samples(sealed) if self._store_key is not None else ()

    def _checksums(self) -> Mapping[str, str]:
        return {table: str(value) for table, value in self._node.checksums().items()}

    def _access_lost(self) -> Refusal:
        text = self._loss[1] or self._view.text or "access to the key is lost"
        return Refusal("AccessLost", text, hint="restore access to the key; it goes on by itself", kind="conflict")

    def _explain(self) -> str:
        return f"database system {self._view.system.name} is INACCESSIBLE: {self._loss[1]}"

    def _tell(self) -> None:
        """Report where what the desk believes differs from what is; once for each view."""
        system, running = self._view.system, self._node.running()
        if self._receipt is not None:
            receipt = self._receipt
            if self._report(Report(system.id, "fenced", receipt.reason, receipt.reason_text, receipt)):
                self._receipt = None
        elif self._told:
            return
        elif self._fenced and not running and system.state in ("ACTIVE", "UPDATING", "STARTING"):
            self._report(Report(system.id, "fenced", *self._loss))
        elif running and not self._fenced and system.state in ("INACCESSIBLE", "FAILED") and self._view.granted:
            self._report(Report(system.id, "running"))
        elif not running and system.desired == "stopped" and system.state in ("INACCESSIBLE", "ACTIVE"):
            self._report(Report(system.id, "stopped"))

    def _report(self, report: Report) -> bool:
        try:
            self._desk.report(report)
        except (Fault, Refusal):
            return False  # said again with the next watch
        self._told = True
        return True


class _OpenedNode:
    """The TLS half of what the desk opened."""

    __slots__ = ("authority", "tls_certificate", "tls_key")

    def __init__(self, tls_key: bytes, tls_certificate: bytes, authority: bytes) -> None:
        self.tls_key = tls_key
        self.tls_certificate = tls_certificate
        self.authority = authority
