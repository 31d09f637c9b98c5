"""The vault's public face: vaults, keys, their states, and cryptography with them.

Every method takes `caller` first and passes the Guard. Raw key material never leaves; ciphertexts are envelopes that
name key and version and are bound to tenancy, region, key, purpose and the caller's associated data.

Permissions are those of OCI: KEY_ENCRYPT and KEY_DECRYPT for people and applications; a resource such as a database
system uses keys by KEY_ASSOCIATE (`use key-delegate`), checked at association and at every use.
"""

from keystead.iam.model import Caller
from keystead.vault.insight.questions import Insight
from keystead.vault.memory.keyring import Entry
from keystead.vault.transfer.backups import KeyBackups
from keystead.vault.transfer.importing import Imports
from keystead.vault.use.foreign import Foreign
from keystead.vault.vaults import VaultActs


class Vaults(VaultActs, Imports, KeyBackups, Insight, Foreign):
    """Vaults and keys."""

    def entry_of(self, caller: Caller, key_id: str, *, newborn: bool = False) -> Entry:
        """The key as the keyring has it, of the caller's tenancy or shared with it. Guards nothing by itself.
        `newborn`: as in `Guard.require`.
        """
        return self._entry(caller, key_id, newborn=newborn)
