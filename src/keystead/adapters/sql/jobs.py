"""Jobs' rows."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from keystead.adapters.sql import schema
from keystead.adapters.sql.rows import Table, read
from keystead.core.page import PageRequest
from keystead.jobs.model import Job

OPEN = ("ACCEPTED", "IN_PROGRESS")


class SqlJobRows:
    """`JobRows` on a connection."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._jobs = Table(connection, schema.jobs)

    def add(self, job: Job) -> None:
        self._jobs.insert(job)

    def job(self, tenancy: str, job_id: str) -> Job | None:
        return self._jobs.one(Job, tenancy=tenancy, id=job_id)

    def jobs(self, tenancy: str, compartment: str, page: PageRequest) -> Sequence[Job]:
        columns = schema.jobs.c
        place = sa.tuple_(columns.created_at, columns.id)
        query = sa.select(schema.jobs).where(columns.tenancy == tenancy, columns.compartment == compartment)
        if page.after is not None:
            at, _, job_id = page.after.partition(" ")
            query = query.where(place < sa.tuple_(sa.literal(at), sa.literal(job_id)))
        query = query.order_by(columns.created_at.desc(), columns.id.desc()).limit(page.limit + 1)
        return [read(Job, dict(row)) for row in self._connection.execute(query).mappings()]

    def unfinished(self) -> Sequence[Job]:
        return self._jobs.all(Job, "created_at", state=OPEN)

    def open_for(self, tenancy: str, resource: str) -> Job | None:
        return self._jobs.one(Job, tenancy=tenancy, resource=resource, state=OPEN)

    def cancel_for(self, tenancy: str, resource: str, now: datetime) -> None:
        where = {"tenancy": tenancy, "resource": resource, "state": OPEN}
        self._jobs.update(where, state="CANCELED", lease_owner="", updated_at=now)

    def release_all(self) -> None:
        self._jobs.update({"state": OPEN}, lease_owner="", lease_until=0.0)

    def lease(self, owner: str, now: float, until: float) -> Job | None:
        columns = schema.jobs.c
        query = (
            sa.select(columns.tenancy, columns.id)
            .where(columns.state.in_(OPEN), columns.lease_until <= now)
            .order_by(columns.created_at)
            .limit(1)
        )
        found = self._connection.execute(query).first()
        if found is None:
            return None
        where = {"tenancy": found.tenancy, "id": found.id}
        self._jobs.update(where, lease_owner=owner, lease_until=until, attempts=columns.attempts + 1)
        return self.job(found.tenancy, found.id)

    def renew(self, job: Job, owner: str, until: float) -> bool:
        where = {"tenancy": job.tenancy, "id": job.id, "lease_owner": owner}
        return self._jobs.update(where, lease_until=until) == 1

    def save(self, job: Job, owner: str) -> bool:
        where = {"tenancy": job.tenancy, "id": job.id, "lease_owner": owner}
        changed = self._jobs.update(
            where,
            state=job.state,
            step=job.step,
            percent=job.percent,
            result=job.result,
            error_code=job.error_code,
            error=job.error,
            updated_at=job.updated_at,
            version=job.version + 1,
        )
        return changed == 1
