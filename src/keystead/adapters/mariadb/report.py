"""A scan's report as plain data, for a job's result: what protects each file, what is readable, what leaks."""

from typing import Any

from keystead.adapters.mariadb.scan import FileFinding, Report


def report_of(found: Report, canaries: int) -> dict[str, Any]:
    """`canaries`: how many different ones were planted and looked for (0: the server was not running)."""
    return {
        "holds": found.holds,
        "canaries_planted": canaries,
        "bytes_read": found.bytes_read,
        "key_versions": {str(version): list(files) for version, files in found.versions().items()},
        "files": [_file(finding) for finding in found.files],
    }


def _file(finding: FileFinding) -> dict[str, Any]:
    return {
        "where": finding.where,
        "path": finding.path,
        "kind": finding.kind,
        "size": finding.size,
        "encrypted": finding.encrypted,
        "readable_by_design": finding.readable,
        "key_versions": {str(version): pages for version, pages in finding.key_versions.items()},
        "plain_pages": finding.plain_pages,
        "canary_hits": finding.canaries,
        "leaks": finding.leaks,
    }
