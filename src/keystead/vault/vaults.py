"""Vaults: made, shown, listed."""

from keystead.core.errors import taken
from keystead.core.ids import VaultId, new_id
from keystead.core.page import Page, PageRequest, cut
from keystead.iam.model import Caller, Target
from keystead.iam.names import check_name
from keystead.vault.base import Base
from keystead.vault.model import Protection, Vault


class VaultActs(Base):
    """What is done with vaults."""

    def create_vault(self, caller: Caller, compartment: str, name: str, protection: Protection = "software") -> Vault:
        place = self._place(caller, compartment)
        check_name(name, "vault")
        new = VaultId(new_id("vault", self._region))
        target = Target("vaults", new, name, place.tenancy, place.path, {"vault.id": new})
        entry = self._guard.permit_change(caller, "VAULT_CREATE", target, "CreateVault")
        now = self._clock.now()
        vault = Vault(new, place.tenancy, place.id, name, protection, now, caller.principal.name, now)
        with self._store.write(entry) as tx:
            if tx.vault.vaults(place.tenancy, place.id, PageRequest(1), name):
                raise taken("vault", name)
            tx.vault.add_vault(vault)
        return vault

    def get_vault(self, caller: Caller, vault_id: str) -> Vault:
        vault, target = self._vault(caller, vault_id)
        self._guard.permit(caller, "VAULT_READ", target, "GetVault")
        return vault

    def list_vaults(self, caller: Caller, compartment: str, page: PageRequest, name: str | None = None) -> Page[Vault]:
        place = self._place(caller, compartment)
        target = Target("vaults", place.id, place.name, place.tenancy, place.path)
        self._guard.permit(caller, "VAULT_INSPECT", target, "ListVaults")
        with self._store.read() as tx:
            return cut(tx.vault.vaults(place.tenancy, place.id, page, name), page.limit, lambda item: item.name)
