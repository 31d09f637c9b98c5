"""The keystores that the settings name, for one process. Nothing is asked of them yet."""

from keystead.adapters.keystores.patience import Limits
from keystead.server.sections import ExternalSection, HsmSection, Settings, invalid
from keystead.vault.memory.software import SoftwareKeystore
from keystead.vault.ports import Keystore


def keystores(settings: Settings, software: SoftwareKeystore) -> list[Keystore]:
    """Those besides `software`, which knows destroyed material again for all.

    Raises:
        Refusal: `InvalidSettings`, `InvalidUri`.
    """
    found: list[Keystore] = []
    if settings.hsm.uri:
        found.append(_token(settings.hsm, software))
    if settings.external.url:
        found.append(_external(settings.external))
    return found


def _token(section: HsmSection, software: SoftwareKeystore) -> Keystore:
    from keystead.adapters.keystores.pkcs11 import TokenKeystore
    from keystead.adapters.keystores.token import Token
    from keystead.adapters.keystores.uri import parse

    uri = parse(section.uri)
    if not (uri.module_path or section.module):
        raise invalid("[hsm] uri names a token, but no module is set", "set [hsm] module, or module-path in the URI")
    limits = Limits(section.sessions, section.waiting, section.wait_seconds, section.call_seconds)
    return TokenKeystore(Token(uri, section.module, section.pin_file, limits), software.fingerprint)


def _external(section: ExternalSection) -> Keystore:
    from keystead.adapters.keystores.external import ExternalKeystore, PatientKms
    from keystead.adapters.keystores.openbao import OpenBaoKms

    if not section.token_file:
        raise invalid("[external] url is set, but no token_file", "put its token into a file and name it")
    limits = Limits(section.connections, section.waiting, section.wait_seconds, section.call_seconds)
    kms = OpenBaoKms(
        section.url,
        section.token_file,
        section.mount,
        ca_file=section.ca_file,
        namespace=section.namespace,
        timeout=section.call_seconds,
    )
    return ExternalKeystore(PatientKms(kms, limits))
