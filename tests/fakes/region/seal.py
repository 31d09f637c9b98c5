"""The seal, and whether the region is well."""

from tests.fakes.region.routes import Request, route
from tests.fakes.region.state import MOMENT, Json, Refused


@route("GET", "/health")
def health(ask: Request) -> Json:
    return {"status": ask.region.status, "version": "0.1.0", "region": "home"}


@route("GET", "/seal")
def seal_status(ask: Request) -> Json:
    sealed = ask.region.status == "sealed"
    progress = [{"set": 7, "threshold": 2, "given": list(ask.region.shares)}] if sealed else []
    told = {"sealed": sealed, "region": "home", "since": MOMENT, "ordered": sealed, "by": "olivia" if sealed else ""}
    return {**told, "ways": ["key-file", "shares"] if sealed else [], "progress": progress}


@route("POST", "/seal/actions/seal")
def seal(ask: Request) -> Json:
    ask.region.status = "sealed"
    return seal_status(ask)


@route("POST", "/seal/actions/reset")
def reset_unseal(ask: Request) -> Json:
    ask.region.shares.clear()
    return seal_status(ask)


@route("POST", "/seal/actions/unseal")
def unseal(ask: Request) -> Json:
    if ask.body["kind"] == "share" and ask.body["secret"] == "wrong":
        raise Refused(400, "WrongShare", "this is not a share that opens this region")
    ask.region.shares.append(len(ask.region.shares) + 1)
    if ask.body["kind"] != "share" or len(ask.region.shares) == 2:
        ask.region.status = "ok"
        ask.region.shares.clear()
    return seal_status(ask)
