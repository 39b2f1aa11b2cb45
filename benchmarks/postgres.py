"""A real PostgreSQL server for tests and benchmarks: loopback only, in a temporary folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy

USER, PASSWORD = "searcher", "s3cret-passw0rd"
SETTINGS = {
    "fsync": "off",  # the folder is deleted in the end
    "listen_addresses": "127.0.0.1",
    "max_connections": "100",
    "shared_buffers": "32MB",
}


def binaries() -> Path | None:
    """The folder of `initdb` and `pg_ctl`: Debian's newest, or that of the search path."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda p: p.parts[-3])
    found = shutil.which("pg_ctl")
    candidates = [*installed[::-1], *([Path(found).resolve()] if found else [])]
    return next((path.parent for path in candidates if (path.parent / "initdb").exists()), None)


_FOLDERS: dict[str, Path] = {}  # of the running servers, by URL


@contextmanager
def server() -> Iterator[str]:
    """Yield the URL of a server without its database: `postgresql://user:password@host:port`."""
    folder = Path(tempfile.mkdtemp(prefix="optuna-study-postgres-"))
    url = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{_free_port()}"
    _FOLDERS[url] = folder
    (folder / "password").write_text(PASSWORD)
    if os.geteuid() == 0:  # the server refuses to run as root
        _give_to_nobody(folder)
    try:
        _call(folder, "initdb", "--no-sync", "-U", USER, "-A", "scram-sha-256", "--pwfile=password")
        start(url)
        yield url
    finally:
        with suppress(subprocess.CalledProcessError):
            _call(folder, "pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def start(url: str) -> None:
    """Let a stopped server run again."""
    folder = _FOLDERS[url]
    options = [f"-c {name}={value}" for name, value in SETTINGS.items()]
    place = f"-p {url.rpartition(':')[2]} -k {folder}"
    _call(folder, "pg_ctl", "-w", "-l", "log", "-o", " ".join([place, *options]), "start")


def restart(url: str, mode: str = "immediate", away: float = 0.0) -> None:
    """Let a server crash, or end in `fast` mode, and come back after some seconds."""
    stop(url, mode)
    time.sleep(away)
    start(url)


def stop(url: str, mode: str = "immediate") -> None:
    """Let a server crash, or end in `fast` mode."""
    _call(_FOLDERS[url], "pg_ctl", "-m", mode, "stop")


def new_database(url: str) -> str:
    """Make an empty database; returns its URL."""
    name = f"study_{uuid.uuid4().hex[:12]}"
    engine = sqlalchemy.create_engine(f"{url}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return f"{url}/{name}"


def _call(folder: Path, program: str, *arguments: str) -> None:
    where = binaries()
    assert where is not None
    become = ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []
    command = [*become, str(where / program), "-D", str(folder / "data"), *arguments]
    subprocess.run(
        command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _give_to_nobody(folder: Path) -> None:
    folder.chmod(0o755)
    for path in (folder, folder / "password"):
        shutil.chown(path, "nobody")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
