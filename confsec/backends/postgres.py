"""Connections to PostgreSQL for stores that may forget nothing: durable, and bounded in time."""

from __future__ import annotations

from typing import Any, Final, LiteralString, TypeVar, final

from confsec.errors import BackendError, ConfigError, MissingExtraError

try:
    import psycopg
    import psycopg.abc
    import psycopg.conninfo
except ImportError as _missing:
    raise MissingExtraError("psycopg", extra="postgres") from _missing

__all__ = ["DurableConnection"]

_T = TypeVar("_T")

_SCHEMA_LOCK: Final = 0x636F6E66  # "conf": a number that other programs on the database hardly use
_SECONDS: Final = 10
"""How long a statement or the server's silence may last; stands in the settings, too."""

_DEFAULTS: Final = {
    "application_name": "confsec",
    "connect_timeout": "5",
    "target_session_attrs": "read-write",  # of several hosts the primary; a standby cannot remember anything
    "tcp_user_timeout": f"{_SECONDS * 1000}",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}

# Stricter than "on" is left as it is: remote_apply waits for a standby as well.
_SETTINGS: Final[LiteralString] = """
    SELECT set_config('synchronous_commit', 'on', FALSE) WHERE current_setting('synchronous_commit') <> 'remote_apply';
    SELECT set_config('statement_timeout', '10s', FALSE)
"""


@final
class DurableConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that waits for a bounded time, also for a server that acknowledges packets and never answers."""

    @staticmethod
    def parameters(conninfo: str) -> dict[str, Any]:
        """Read a URL or what else libpq reads, and add our limits. Raises `ConfigError`."""
        try:
            return _DEFAULTS | dict(psycopg.conninfo.conninfo_to_dict(conninfo))
        except psycopg.Error as exc:
            raise ConfigError("this is no connection string of PostgreSQL") from exc  # it may hold a password

    @classmethod
    def open(cls, parameters: dict[str, Any], *, unsafe_volatile: bool = False) -> DurableConnection:
        """Connect; each statement is a transaction unless one is begun. Raises `psycopg.Error` and `BackendError`.

        A server that could lose what it confirmed is refused unless `unsafe_volatile`.
        """
        connection = cls.connect(**parameters, autocommit=True)
        try:
            connection.execute(_SETTINGS)
            fsync = connection.value("SHOW fsync")
            if fsync != "on" and not unsafe_volatile:
                raise BackendError(
                    "PostgreSQL would forget what it confirmed at a power failure", got=f"fsync {fsync}", want="on"
                )
        except BaseException:
            connection.close()
            raise
        return connection

    def make_tables(self, schema: LiteralString, *, versions: LiteralString, version: int) -> None:
        """Make the tables unless somebody did. `versions` is the one that holds the version. Raises `BackendError`."""
        with self.transaction():
            self.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
            if self.value("SELECT to_regclass(%s)", versions) is None:
                self.execute(schema)
        found = self.value("SELECT version FROM " + versions)  # noqa: S608  # a name that stands in our code
        if found != version:
            raise BackendError("the tables are of another version", got=found, want=version)

    def value(self, statement: LiteralString, *parameters: object) -> Any:
        """Return the first value of the first row, or None if there is none."""
        row = self.execute(statement, parameters).fetchone()
        return row[0] if row is not None else None

    def wait(self, gen: psycopg.abc.PQGen[_T], interval: float = 0.1, timeout: float | None = None) -> _T:
        """Run one step of the protocol. Raises `psycopg.OperationalError`."""
        return super().wait(gen, interval, timeout=2 * _SECONDS if timeout is None else timeout)
