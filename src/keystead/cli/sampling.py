"""Values of the customer's own rows, to be looked for on disk: read by the mariadb client, under the caller's login.

Nothing is read that the login may not read, and only text of some length, because short values are found by chance. The
password never passes through here (cli/connect.py).
"""

import os
import subprocess
from binascii import unhexlify

from keystead.cli.connect import client_program, command_line, keep_ca
from keystead.cli.exits import CliError
from keystead.cli.wire import Json

COLUMNS, PER_COLUMN, LIMIT = 20, 3, 64
_SHORTEST, _LONGEST = 10, 200
_SCRIPT = f"""
SET @found = (SELECT GROUP_CONCAT(one SEPARATOR ' UNION ALL ') FROM (
  SELECT CONCAT('(SELECT HEX(CAST(`', REPLACE(column_name, '`', '``'), '` AS CHAR)) FROM `',
    REPLACE(table_schema, '`', '``'), '`.`', REPLACE(table_name, '`', '``'), '` WHERE CHAR_LENGTH(`',
    REPLACE(column_name, '`', '``'), '`) BETWEEN {_SHORTEST} AND {_LONGEST} LIMIT {PER_COLUMN})') AS one
  FROM information_schema.columns
  WHERE table_schema NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys', 'mysql_canary')
    AND data_type IN ('char', 'varchar', 'tinytext', 'text', 'mediumtext', 'longtext')
  LIMIT {COLUMNS}) AS some);
EXECUTE IMMEDIATE COALESCE(@found, 'DO 1');
"""  # noqa: S608  # only numbers of ours are put in


def samples(endpoint: Json, user: str) -> list[bytes]:
    """Some values, at most 64, each of at least 10 bytes.

    Raises:
        CliError: the client is not installed, or the login was refused; it has said why.
    """
    ask = "MYSQL_PWD" not in os.environ
    passed_on = ["--batch", "--skip-column-names", f"--execute={_SCRIPT}"]
    arguments = command_line(client_program(), endpoint, keep_ca(endpoint["ca_pem"]), user, None, passed_on, ask)
    done = subprocess.run(arguments, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise CliError("no samples could be read", hint="check the user and its password", code="NoSamples")
    values = {unhexlify(line) for line in done.stdout.split() if line != b"NULL"}
    return sorted(value for value in values if _SHORTEST <= len(value) <= _LONGEST)[:LIMIT]
