"""coturn's user database: empty, and there before coturn looks for it.

Nobody is in it, for our secret is in the configuration. But each of coturn's authenticating threads
opens it with its first request and makes the tables that it misses; meanwhile it is locked for the
others, which take that for an unknown user and answer 401.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

# Of coturn 4.6; a test tells when a release has other tables.
_TABLES: Final = (
    "turnusers_lt (realm varchar(127) default '', name varchar(512), hmackey char(128), "
    "PRIMARY KEY (realm, name))",
    "turn_secret (realm varchar(127) default '', value varchar(127), PRIMARY KEY (realm, value))",
    "allowed_peer_ip (realm varchar(127) default '', ip_range varchar(256), "
    "PRIMARY KEY (realm, ip_range))",
    "denied_peer_ip (realm varchar(127) default '', ip_range varchar(256), "
    "PRIMARY KEY (realm, ip_range))",
    "turn_origin_to_realm (origin varchar(127), realm varchar(127), PRIMARY KEY (origin))",
    "turn_realm_option (realm varchar(127) default '', opt varchar(32), value varchar(128), "
    "PRIMARY KEY (realm, opt))",
    "oauth_key (kid varchar(128), ikm_key varchar(256), timestamp bigint default 0, "
    "lifetime integer default 0, as_rs_alg varchar(64) default '', realm varchar(127) default '', "
    "PRIMARY KEY (kid))",
    "admin_user (name varchar(32), realm varchar(127), password varchar(127), PRIMARY KEY (name))",
)


def make(path: Path) -> None:
    """Writes the database, unless it is there. Blocks."""
    with closing(sqlite3.connect(path)) as database:
        for table in _TABLES:
            database.execute(f"CREATE TABLE IF NOT EXISTS {table}")
        database.commit()
