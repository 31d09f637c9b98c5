"""A small region in memory, behind a real HTTP server in a thread: what the command line talks to in its tests.

It keeps the shapes of the public API (tests/cli/test_contract.py holds it to the real table), does no real cryptography
but for keys brought along, and decides nothing: refusals are planted with `Region.plan`. Ids and times are counted, so
that transcripts are stable.

One file per area of the API, named below; each puts its operations into the table of `routes`. What is the same of
every kind of row (list, show, change, delete) stands there once, as `rows`.
"""

from importlib import import_module

from tests.fakes.region.server import Handler, Server
from tests.fakes.region.state import MOMENT, Exchange, Region

__all__ = ["MOMENT", "Exchange", "Handler", "Region", "Server"]

AREAS = "approvals databases factors federation insight logins people policies seal tokens transfer upkeep vault"
for area in AREAS.split():
    import_module(f"tests.fakes.region.{area}")
