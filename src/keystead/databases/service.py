"""Databases' public face: create, run, re-key, back up, restore and delete database systems.

Every method takes `caller` first and passes the Guard, for the caller and, where a key is used, for the system's own
principal too. What takes long is a job, written in the transaction of the change it serves.
"""

from keystead.databases.backup_acts import BackupActs
from keystead.databases.logins.acts import LoginActs
from keystead.databases.systems import SystemActs


class Databases(SystemActs, BackupActs, LoginActs):
    """Database systems, their backups, and who may log in to them."""
