import threading

from tests.fakes.kms import FakeKms

from keystead.adapters.keystores.external import PatientKms, RemoteWrapper
from keystead.adapters.keystores.patience import Limits
from keystead.adapters.keystores.watch import LONGEST_SECONDS, Watch, _look
from keystead.core.errors import KeystoreUnavailable

QUICK = Limits(failures=1, pause=0.01, longest_pause=0.01)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Looked:
    """A key whose looks can be waited for."""

    def __init__(self):
        self.kms = FakeKms()
        self.kms.make("key", "AES-256")
        self.wrapper = RemoteWrapper(PatientKms(self.kms, QUICK), "key")
        self.clock = Clock()
        self.watch = Watch(2.0, self.clock)
        self.looks = 0
        self.error: KeystoreUnavailable | None = None
        self.done = threading.Semaphore(0)

    def wrap(self, key):
        self.looks += 1
        if self.error is not None:
            raise self.error
        return self.wrapper.wrap(key)

    def unwrap(self, wrapped):
        return self.wrapper.unwrap(wrapped)

    def known(self):
        return self.watch.known(b"key", lambda: self)

    def look(self):
        """Two more seconds, and what is known after the look that they are due."""
        self.clock.now += 2.0
        before = self.looks
        self.known()
        for _ in range(1000):
            seen = self.watch._seen[b"key"]
            if not seen.looking and self.looks > before:
                return seen.found
            threading.Event().wait(0.005)
        raise AssertionError("nobody looked")


def test_nothing_stands_against_a_key_that_works():
    looked = Looked()
    assert looked.known() is None
    assert looked.look() is None


def test_it_is_not_looked_at_more_often_than_that():
    looked = Looked()
    looked.look()
    so_far = looked.looks
    looked.clock.now += 1.9
    for _ in range(100):
        looked.known()
    assert looked.looks == so_far


def test_what_went_wrong_is_known_and_forgotten_when_it_works_again():
    looked = Looked()
    looked.kms.down = True
    assert looked.look().code == "KeystoreDown"
    looked.kms.down, looked.kms.denied = False, True
    threading.Event().wait(0.02)  # the breaker's pause
    assert looked.look().code == "KeystoreRefused"
    looked.kms.denied = False
    assert looked.look() is None
    looked.kms.destroy("key")
    assert looked.look().code == "KeyNotInKeystore"


def test_a_busy_keystore_says_nothing_about_the_key():
    looked = Looked()
    looked.kms.denied = True
    assert looked.look().code == "KeystoreRefused"
    looked.error = KeystoreUnavailable("KeystoreBusy", "too much to do")
    assert looked.look().code == "KeystoreRefused"
    looked.error, looked.kms.denied = None, False
    assert looked.look() is None
    looked.error = KeystoreUnavailable("KeystoreBusy", "too much to do")
    assert looked.look() is None


def test_a_key_that_opens_something_else_is_refused():
    looked = Looked()
    looked.unwrap = lambda wrapped: bytes(32)
    assert looked.look().code == "KeystoreRefused"


def test_a_look_that_breaks_does_not_end_the_looking():
    found, _ = _look(Broken(), None)
    assert found is not None and found.code == "KeystoreDown"
    assert "secret" not in found.message


class Hanging:
    """A key whose keystore does not come back until it is told to."""

    def __init__(self):
        self.asked, self.free = threading.Event(), threading.Event()

    def wrap(self, key: bytes) -> bytes:
        self.asked.set()
        assert self.free.wait(10)
        raise KeystoreUnavailable("KeystoreDown", "late")

    unwrap = wrap


def test_one_that_hangs_keeps_nobody_from_hearing_about_the_others():
    looked, hanging = Looked(), Hanging()
    assert looked.watch.known(b"other", lambda: hanging) is None
    assert hanging.asked.wait(10)
    looked.kms.denied = True
    assert looked.look().code == "KeystoreRefused"
    hanging.free.set()


def test_no_answer_is_good_for_ever():
    looked, hanging = Looked(), Hanging()
    assert looked.look() is None
    looked.clock.now += 2.0
    assert looked.watch.known(b"other", lambda: hanging) is None
    assert hanging.asked.wait(10)
    looked.clock.now += LONGEST_SECONDS
    assert looked.watch.known(b"other", lambda: hanging) is None
    looked.clock.now += 0.1
    assert looked.watch.known(b"other", lambda: hanging).code == "KeystoreDown"
    hanging.free.set()


def test_being_busy_for_long_is_no_answer_either():
    looked = Looked()
    assert looked.look() is None
    looked.error = KeystoreUnavailable("KeystoreBusy", "too much to do")
    for _ in range(int(LONGEST_SECONDS / 2)):
        assert looked.look() is None
    looked.look()
    looked.clock.now += 2.0
    assert looked.known().code == "KeystoreDown"
    looked.error = None
    assert looked.look() is None and looked.known() is None


class Broken:
    """A driver with a bug."""

    def wrap(self, key: bytes) -> bytes:
        raise ValueError("secret")

    def unwrap(self, wrapped: bytes) -> bytes:
        raise ValueError("secret")
