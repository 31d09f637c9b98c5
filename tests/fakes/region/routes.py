"""How an operation is answered: the table of handlers, a request as they see it, and the rows that are all alike."""

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.fakes.region.state import Json, Refused, Region

Handled = Callable[..., Any]  # (Request, **ids of the path) -> the reply, or (status, reply)
ROUTES: list[tuple[str, str, re.Pattern[str], Handled]] = []


def route(method: str, template: str) -> Callable[[Handled], Handled]:
    pattern = re.compile(
        "".join(f"(?P<{p[1:-1]}>[^/]+)" if p[:1] == "{" else p for p in re.split(r"(\{\w+\})", template))
    )

    def add(function: Handled) -> Handled:
        ROUTES.append((method, template, pattern, function))
        return function

    return add


def find(method: str, path: str) -> tuple[str, Handled, dict[str, str]]:
    """The template, the handler and the ids; the template that says most wins."""
    hits = [(each, found) for each in ROUTES if each[0] == method and (found := each[2].fullmatch(path))]
    if not hits:
        raise Refused(404, "NoSuchOperation", f"there is no {method} {path}")
    (_, template, _, function), found = min(hits, key=lambda hit: hit[0][2].groups)
    return template, function, found.groupdict()


@dataclass
class Request:
    region: Region
    query: dict[str, str]
    body: Any
    headers: dict[str, str]

    @property
    def seen(self) -> str | None:
        value = self.headers.get("If-Match")
        return None if value is None else value.strip('"')

    def page(self, items: list[Json], **wanted: str | None) -> Json:
        chosen = [it for it in items if all(it.get(k) == v for k, v in wanted.items() if v is not None)]
        start, limit = int(self.query.get("page", "0")), int(self.query.get("limit", "50"))
        more = start + limit < len(chosen)
        return {"items": chosen[start : start + limit], "next_page": str(start + limit) if more else None}

    def listed(self, kind: str) -> Json:
        inside = self.query.get("compartment_id")
        return self.page(self.region.all(kind), name=self.query.get("name"), compartment_id=inside)

    def change(self, kind: str, identity: str, **fields: Any) -> Json:
        """The row, changed if it is still as the caller has seen it."""
        return self.region.change(self.region.get(kind, identity), self.seen, **fields)


def no_clash(region: Region, kind: str, name: str, **place: str) -> None:
    for it in region.all(kind):
        if it["name"] == name and it.get("state") != "DELETED" and all(it[k] == v for k, v in place.items()):
            raise Refused(409, "NameTaken", f"there is a {kind} {name!r} already", "choose another name")


def check_origin(thing: Json, verb: str, origins: set[str] | None) -> None:
    if origins is not None and thing["state"] not in origins:
        raise Refused(409, "IllegalState", f"{thing['name']!r} is {thing['state']}: it cannot {verb.replace('-', ' ')}")


def rows(kind: str, template: str, *, change: str = "", delete: bool = False) -> None:
    """The operations that are the same of every kind: list, show, change by that method, delete for good."""
    collection, _, parameter = template.rpartition("/")

    def identity(ids: dict[str, str]) -> str:
        return ids[parameter.strip("{}")]

    def remove(ask: Request, **ids: str) -> tuple[int, None]:
        ask.change(kind, identity(ids))
        ask.region.remove(kind, identity(ids))
        return 204, None

    route("GET", collection)(lambda ask: ask.listed(kind))
    route("GET", template)(lambda ask, **ids: ask.region.get(kind, identity(ids)))
    if change:
        route(change, template)(lambda ask, **ids: ask.change(kind, identity(ids), **ask.body))
    if delete:
        route("DELETE", template)(remove)


def named(kind: str, path: str, **usual: Any) -> None:
    """Creating what lies in no compartment, has a name of its own and is as the request says."""

    def create(ask: Request) -> tuple[int, Json]:
        no_clash(ask.region, kind, ask.body["name"])
        return 201, ask.region.keep(kind, **{**usual, **ask.body})

    route("POST", path)(create)


def base64_of(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
