"""Foreign wire protocols, for their unmodified clients: one file (and, where it is long, a second) per protocol.

A dialect is a `Face` of the pipeline and a table of operations. It decides how requests are read and answers worded;
every act is a call of the same services with the same caller as our own API, so one Guard decides, one audit log
records, and what is disabled through one protocol is disabled in all of them at once.
"""

from keystead.web.dialects.scim import ScimFace
from keystead.web.dialects.vault import VaultFace
from keystead.web.exchange import Face


def faces() -> tuple[Face, ...]:
    """The protocols that are spoken, for one worker."""
    return (VaultFace(), ScimFace())
