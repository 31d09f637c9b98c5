"""The keystores that the settings name, for one process. Nothing is asked of them yet."""

from typing import TYPE_CHECKING

from keystead.adapters.keystores.patience import Limits
from keystead.server.sections import ExternalSection, HsmSection, invalid
from keystead.server.settings import Effective
from keystead.vault.memory.software import SoftwareKeystore
from keystead.vault.ports import Keystore

if TYPE_CHECKING:
    from keystead.adapters.keystores.external import PatientKms
    from keystead.adapters.keystores.token import Token


def keystores(effective: Effective, software: SoftwareKeystore) -> list[Keystore]:
    """Those besides `software`, which knows destroyed material again for all.

    Raises:
        Refusal: `InvalidSettings`, `InvalidUri`.
    """
    from keystead.server.keystore_health import note

    found: list[Keystore] = []
    settings = effective.settings
    if settings.hsm.uri:
        from keystead.adapters.keystores.pkcs11 import TokenKeystore

        held = token(settings.hsm)
        note(effective.runtime, "hsm", held.patience)
        found.append(TokenKeystore(held, software.fingerprint))
    if settings.external.url:
        from keystead.adapters.keystores.external import ExternalKeystore

        away = kms(settings.external)
        note(effective.runtime, "external", away.patience)
        found.append(ExternalKeystore(away))
    return found


def token(section: HsmSection) -> "Token":
    """The token that the settings name. Raises: Refusal."""
    from keystead.adapters.keystores.token import Token
    from keystead.adapters.keystores.uri import parse

    uri = parse(section.uri)
    if not (uri.module_path or section.module):
        raise invalid("[hsm] uri names a token, but no module is set", "set [hsm] module, or module-path in the URI")
    limits = Limits(section.sessions, section.waiting, section.wait_seconds, section.call_seconds)
    return Token(uri, section.module, section.pin_file, limits)


def kms(section: ExternalSection) -> "PatientKms":
    """The other KMS that the settings name. Raises: Refusal."""
    from keystead.adapters.keystores.external import PatientKms
    from keystead.adapters.keystores.openbao import OpenBaoKms

    if not section.token_file:
        raise invalid("[external] url is set, but no token_file", "put its token into a file and name it")
    limits = Limits(section.connections, section.waiting, section.wait_seconds, section.call_seconds)
    found = OpenBaoKms(
        section.url,
        section.token_file,
        section.mount,
        ca_file=section.ca_file,
        namespace=section.namespace,
        timeout=section.call_seconds,
    )
    return PatientKms(found, limits)
