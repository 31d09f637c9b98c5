"""Network sources: networks under one name, for `request.networksource.name`. See networks."""

from dataclasses import replace

from keystead.core.errors import Refusal, check_version, required, stale, taken
from keystead.core.ids import CompartmentId, NetworkSourceId, new_id, parse_id
from keystead.core.page import Page, PageRequest, cut
from keystead.iam.base import Base
from keystead.iam.model import Caller, NetworkSource, Target
from keystead.iam.names import check_description, check_name
from keystead.iam.networks import canonical_networks

MAX_NETWORKS = 50


class NetworkSourceActs(Base):
    """Changes hold from the next request on."""

    def create_network_source(
        self, caller: Caller, name: str, networks: tuple[str, ...], description: str = ""
    ) -> NetworkSource:
        """Networks under one name. Raises: Refusal (one is none, name taken)."""
        check_name(name, "network source")
        check_description(description)
        new = NetworkSourceId(new_id("networksource", self._region))
        tenancy = caller.principal.tenancy
        source = NetworkSource(new, tenancy, name, networks, description, self._clock.now())
        target = _at_network_source(source)
        entry = self._guard.permit_change(
            caller, "NETWORK_SOURCE_CREATE", target, "CreateNetworkSource", _listed(networks)
        )
        source = replace(source, networks=_checked(networks))
        with self._store.write(entry) as tx:
            if tx.network_sources.page(tenancy, PageRequest(1), name):
                raise taken("network source", name)
            tx.network_sources.add(source)
        return source

    def get_network_source(self, caller: Caller, source_id: str) -> NetworkSource:
        source = self._network_source(caller, source_id)
        self._guard.permit(caller, "NETWORK_SOURCE_INSPECT", _at_network_source(source), "GetNetworkSource")
        return source

    def list_network_sources(self, caller: Caller, page: PageRequest, name: str | None = None) -> Page[NetworkSource]:
        target = self._in_root(caller, "network-sources")
        self._guard.permit(caller, "NETWORK_SOURCE_INSPECT", target, "ListNetworkSources")
        with self._store.read() as tx:
            found = tx.network_sources.page(caller.principal.tenancy, page, name)
            return cut(found, page.limit, lambda item: item.name)

    def update_network_source(
        self, caller: Caller, source_id: str, networks: tuple[str, ...], if_match: int | None = None
    ) -> NetworkSource:
        source = self._network_source(caller, source_id)
        target = _at_network_source(source)
        entry = self._guard.permit_change(
            caller, "NETWORK_SOURCE_UPDATE", target, "UpdateNetworkSource", _listed(networks)
        )
        check_version(source.version, if_match)
        changed = replace(source, networks=_checked(networks), version=source.version + 1)
        with self._store.write(entry, reserve=True) as tx:
            if not tx.network_sources.set(changed, source.version):
                raise stale()
        return changed

    def delete_network_source(self, caller: Caller, source_id: str, if_match: int | None = None) -> None:
        source = self._network_source(caller, source_id)
        target = _at_network_source(source)
        entry = self._guard.permit_change(caller, "NETWORK_SOURCE_DELETE", target, "DeleteNetworkSource")
        check_version(source.version, if_match)
        with self._store.write(entry, reserve=True) as tx:
            if not tx.network_sources.set(replace(source, version=source.version + 1), source.version, deleted=True):
                raise stale()

    def _network_source(self, caller: Caller, source_id: str) -> NetworkSource:
        parse_id(source_id, "networksource")
        with self._store.read() as tx:
            return required(tx.network_sources.one(caller.principal.tenancy, source_id), "network source")


def _at_network_source(source: NetworkSource) -> Target:
    return Target("network-sources", source.id, source.name, source.tenancy, (CompartmentId(source.tenancy),))


def _listed(networks: tuple[str, ...]) -> dict[str, str]:
    return {"networks": ", ".join(networks)[:500]}


def _checked(networks: tuple[str, ...]) -> tuple[str, ...]:
    if not 1 <= len(networks) <= MAX_NETWORKS:
        raise Refusal("InvalidParameter", f"a network source has 1 to {MAX_NETWORKS} networks")
    return canonical_networks(networks)
