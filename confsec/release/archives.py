"""What is in the files of a release: wheels and sdists, member by member, with all that stands beside the contents.

The files may come from anybody. How much is unpacked has a limit, and nothing is written anywhere.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from struct import error as struct_error
from typing import Final, final

from attrs import field, frozen

from confsec.errors import ConfigError, LimitError
from confsec.release.build import Artifact

__all__ = ["ENDINGS", "MAX_FILE", "MAX_MEMBERS", "MAX_UNPACKED", "Member", "check_kind", "read_members"]

ENDINGS: Final = (".whl", ".tar.gz", ".cdx.json")
"""How the names of the files of a release end: wheel, sdist, bill of materials."""

MAX_FILE: Final = 64 << 20
"""A file of a release has at most 64 MiB."""

MAX_MEMBERS: Final = 20_000
"""Members of one archive."""

MAX_UNPACKED: Final = 256 << 20
"""All members together have at most 256 MiB."""

# zipfile and tarfile raise all of these for archives that somebody broke on purpose.
_BROKEN: Final = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, struct_error, EOFError, ArithmeticError, LookupError,
    NotImplementedError, OSError, RuntimeError, ValueError,
)  # fmt: skip


@final
@frozen
class Member:
    """A file or folder in an archive."""

    name: str

    data: bytes | None = field(repr=False)
    """What is in it; None if it cannot be unpacked."""

    metadata: Mapping[str, str]
    """What stands beside it: time, mode, owner and so on, in words."""


def check_kind(name: str) -> None:
    """Refuse the name of a file that a release does not have. Raises `ConfigError`."""
    if not name.endswith(ENDINGS):
        raise ConfigError(f"{name!a} is no wheel", want=f"a file whose name ends in {', '.join(ENDINGS)}")


def read_members(artifact: Artifact) -> tuple[Member, ...]:
    """Return what is in a file of a release, in its order. Raises `ConfigError` for what is none, and `LimitError`."""
    check_kind(artifact.name)
    _limit(len(artifact.data), MAX_FILE)
    readers = dict(zip(ENDINGS, (_wheel, _sdist, _text), strict=True))
    [read] = (reader for ending, reader in readers.items() if artifact.name.endswith(ending))
    try:
        return tuple(read(artifact.data))
    except _BROKEN as exc:
        raise ConfigError(f"{artifact.name!a} is not what its name says: it cannot be unpacked") from exc


def _limit(size: int, most: int) -> None:
    if size > most:
        raise LimitError("a file of a release is too large, or unpacks to too much", got=size, want=f"at most {most}")


def _wheel(data: bytes) -> Iterator[Member]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        _limit(len(infos), MAX_MEMBERS)
        if not any(info.filename.endswith(".dist-info/WHEEL") for info in infos):
            raise ConfigError("a zip file without .dist-info/WHEEL is no wheel")
        left = MAX_UNPACKED
        for info in infos:
            content = _unzip(archive, info, left)
            left -= len(content or b"")
            yield Member(info.filename, content, _zip_metadata(info))


def _unzip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes | None:
    """Return what is in a member, or None where its bytes are broken."""
    try:
        with archive.open(info) as member:
            content = member.read(most + 1)
    except _BROKEN:
        return None
    _limit(len(content), most)
    return content


def _zip_metadata(info: zipfile.ZipInfo) -> dict[str, str]:
    year, month, day, hour, minute, second = info.date_time
    return {
        "time": f"{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}",
        "mode": f"{info.external_attr >> 16:06o}",
        "attributes": f"{info.external_attr & 0xFFFF:#06x} {info.internal_attr:#06x}",
        "compression": str(info.compress_type),
        "versions": f"{info.create_system} {info.create_version} {info.extract_version}",
        "flags": f"{info.flag_bits:#06x}",
        "extra field": info.extra.hex(),
        "comment": info.comment.hex(),
    }


def _sdist(data: bytes) -> Iterator[Member]:
    unzip = zlib.decompressobj(wbits=31)  # gzip
    content = unzip.decompress(data, MAX_UNPACKED + 1)
    _limit(len(content), MAX_UNPACKED)
    if not unzip.eof:
        raise EOFError
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        for count, info in enumerate(archive, 1):
            _limit(count, MAX_MEMBERS)
            file = archive.extractfile(info) if info.isreg() else None
            yield Member(info.name, b"" if file is None else file.read(), _tar_metadata(info))


def _tar_metadata(info: tarfile.TarInfo) -> dict[str, str]:
    return {
        "time": str(info.mtime),
        "mode": f"{info.mode:04o}",
        "owner": f"{info.uid}:{info.gid} {info.uname}:{info.gname}",
        "type": info.type.hex(),
        "link": info.linkname,
    }


def _text(data: bytes) -> Iterator[Member]:
    yield Member("", data, {})
