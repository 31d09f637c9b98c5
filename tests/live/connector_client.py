"""Logs in with mysql-connector-python as it is, run by the Python of its own environment.

Standard input: JSON with the arguments of `mysql.connector.connect`. Standard output: JSON, `USER()`, `CURRENT_USER()`
and the cipher of the connection; or `error`.
"""

import _mysql_connector  # noqa: F401  # before anything loads Debian's OpenSSL: this one needs its own, newer one

# isort: split
import json
import sys

import mysql.connector


def main() -> None:
    try:
        connection = mysql.connector.connect(**json.load(sys.stdin))
        cursor = connection.cursor()
        cursor.execute("SELECT USER(), CURRENT_USER()")
        user, account = cursor.fetchone()
        cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
        json.dump({"user": user, "account": account, "cipher": cursor.fetchone()[1]}, sys.stdout)
    except (mysql.connector.Error, RuntimeError) as error:
        json.dump({"error": str(error)}, sys.stdout)


if __name__ == "__main__":
    main()
