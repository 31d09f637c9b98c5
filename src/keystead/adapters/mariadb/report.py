"""A scan's report as plain data, for a job's result: what protects each file, what is readable, what leaks."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from keystead.adapters.mariadb.scan import FileFinding, Report


def report_of(found: Report, canaries: int, samples: int) -> dict[str, Any]:
    """`canaries`: how many different ones were planted and looked for (0: the server was not running); `samples`: how
    many values of the customer's.
    """
    return {
        "holds": found.holds,
        "canaries_planted": canaries,
        "samples_looked_for": samples,
        "bytes_read": found.bytes_read,
        "key_versions": {str(version): list(files) for version, files in found.versions().items()},
        "files": [_file(finding) for finding in found.files],
    }


def _file(finding: FileFinding) -> dict[str, Any]:
    """The finding's fields, two of them under fuller names; versions become strings, as JSON's keys are."""
    plain = {_NAMES.get(name, name): value for name, value in dataclasses.asdict(finding).items()}
    for name, value in plain.items():
        if isinstance(value, Mapping):
            plain[name] = {str(version): pages for version, pages in value.items()}
    return plain | {"leaks": finding.leaks}


_NAMES = {"readable": "readable_by_design", "canaries": "canary_hits"}
