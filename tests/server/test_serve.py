"""What listeners ask of whoever connects, whether the region is open or sealed."""

import contextlib
import ssl
import stat
from collections.abc import Callable

import pytest

from keystead.server import serve
from keystead.server.authority import API
from keystead.server.sealing.unseal import open_root
from keystead.server.settings import Effective


def _open(region: Effective, patch: pytest.MonkeyPatch) -> ssl.SSLContext | None:
    for name in ("signal", "setitimer"):  # a fresh certificate in half a year is not this process's business
        patch.setattr(serve.signal, name, lambda *_: None)
    return serve._tls(region, open_root(region))


def _sealed(region: Effective, _patch: pytest.MonkeyPatch) -> ssl.SSLContext | None:
    serve.keep_sealed_tls(region, open_root(region))
    return serve._tls(region, None)


Way = Callable[[Effective, pytest.MonkeyPatch], ssl.SSLContext | None]


@pytest.mark.parametrize("way", [_open, _sealed])
def test_tls_1_3_and_nothing_older(region: Effective, monkeypatch: pytest.MonkeyPatch, way: Way) -> None:
    context = way(region, monkeypatch)
    assert context is not None
    trusting = ssl.create_default_context(cafile=str(region.state / API.certificate))
    assert _shaken(context, trusting) == "TLSv1.3"
    trusting.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match=r"(?i)unsupported.protocol|protocol.version"):
        _shaken(context, trusting)


def test_the_key_of_a_sealed_region_is_for_its_user_alone_and_goes_when_it_is_not_needed(region: Effective) -> None:
    serve.keep_sealed_tls(region, open_root(region))
    path = serve.sealed_tls(region)
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    serve.drop_sealed_tls(region)
    assert not path.exists()


def _shaken(listening: ssl.SSLContext, trusting: ssl.SSLContext) -> str | None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, to_server, server_hostname="localhost")
    server = listening.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return client.version()
