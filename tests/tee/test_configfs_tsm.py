"""Reports come from the kernel: asked as its documentation says, and asked again when others interfere."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from attrs import define, field

from confsec.errors import BackendError, LocalProtocolError
from confsec.tee.configfs_tsm import SEV_GUEST, VTPM_SERVICE, ConfigfsTsm, KernelFiles, TsmService

pytestmark = pytest.mark.anyio

DATA = bytes(range(64))


@define
class FakeKernel:
    """A kernel in memory: it answers with what `answer` makes of the report data."""

    answer: Callable[[bytes], bytes] = lambda data: b"report about " + data
    blobs: dict[str, bytes] = field(factory=lambda: {"auxblob": b"certificates", "provider": b"sev_guest\n"})
    other_writers: int = 0
    """How many times somebody else writes to a request."""

    refuse: int = 0
    """The error that outblob gives."""

    written: dict[Path, dict[str, bytes]] = field(factory=dict)
    removed: list[Path] = field(factory=list)

    def make(self, directory: Path) -> None:
        assert directory not in self.written
        self.written[directory] = {}

    def write(self, path: Path, data: bytes) -> None:
        self.written[path.parent][path.name] = data

    def read(self, path: Path) -> bytes:
        options = self.written[path.parent]
        if path.name == "generation":
            return str(len(options)).encode() + b"\n"
        if path.name == "outblob":
            if self.refuse:
                raise OSError(self.refuse, "refused")
            if self.other_writers:
                self.other_writers -= 1
                options["somebody else"] = b""
            return self.answer(options["inblob"])
        if path.name not in self.blobs:
            raise FileNotFoundError(errno.ENOENT, "no such file")
        return self.blobs[path.name]

    def remove(self, directory: Path) -> None:
        self.removed.append(directory)


async def test_report_is_asked_for() -> None:
    kernel = FakeKernel()
    found = await ConfigfsTsm(Path("/tsm"), files=kernel).report(DATA)
    assert found.report == b"report about " + DATA
    assert found.provider == SEV_GUEST
    assert found.auxiliary == b"certificates"
    assert found.manifest == b""
    (directory,) = kernel.written
    assert directory.parent == Path("/tsm")
    assert kernel.written[directory] == {"inblob": DATA}
    assert kernel.removed == [directory]


async def test_options_are_written() -> None:
    kernel = FakeKernel(blobs={"manifestblob": b"manifest", "provider": b"sev_guest\n"})
    tsm = ConfigfsTsm(Path("/tsm"), files=kernel)
    found = await tsm.report(DATA, privlevel=2, service=VTPM_SERVICE)
    assert found.manifest == b"manifest"
    assert found.auxiliary == b""
    one = TsmService(provider="svsm", guid=UUID(int=1), manifest_version=3)
    await tsm.report(DATA, service=one)
    assert list(kernel.written.values()) == [
        {"inblob": DATA, "privlevel": b"2", "service_provider": b"svsm"},
        {
            "inblob": DATA,
            "service_provider": b"svsm",
            "service_guid": b"00000000-0000-0000-0000-000000000001",
            "service_manifest_version": b"3",
        },
    ]


async def test_request_that_others_wrote_to_is_made_again() -> None:
    kernel = FakeKernel(other_writers=2)
    await ConfigfsTsm(Path("/tsm"), files=kernel).report(DATA)
    assert len(kernel.written) == 3
    assert kernel.removed == list(kernel.written)


async def test_request_that_others_keep_writing_to_is_given_up() -> None:
    kernel = FakeKernel(other_writers=3)
    with pytest.raises(BackendError, match="somebody else"):
        await ConfigfsTsm(Path("/tsm"), files=kernel).report(DATA)
    assert kernel.removed == list(kernel.written)


@pytest.mark.parametrize(
    "number, hint", [(errno.EFBIG, "buffer"), (errno.EINVAL, "privilege"), (errno.EIO, "firmware"), (errno.ENODATA, "")]
)
async def test_refusal_of_the_kernel_is_explained(number: int, hint: str) -> None:
    kernel = FakeKernel(refuse=number)
    with pytest.raises(BackendError, match=errno.errorcode[number]) as caught:
        await ConfigfsTsm(Path("/tsm"), files=kernel).report(DATA)
    assert hint in caught.value.hint
    assert kernel.removed == list(kernel.written)


async def test_report_that_is_too_long_is_refused() -> None:
    kernel = FakeKernel(answer=lambda data: bytes((1 << 20) + 1))
    with pytest.raises(BackendError, match="too long"):
        await ConfigfsTsm(Path("/tsm"), files=kernel).report(DATA)


async def test_generation_that_is_no_number_is_refused() -> None:
    class Odd(KernelFilesOf):
        def read(self, path: Path) -> bytes:
            return b"-1" if path.name == "generation" else super().read(path)

    with pytest.raises(BackendError, match="no number"):
        await ConfigfsTsm(Path("/tsm"), files=Odd(FakeKernel())).report(DATA)


class KernelFilesOf:
    """Hands on to another kernel."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self.make, self.write, self.remove = kernel.make, kernel.write, kernel.remove

    def read(self, path: Path) -> bytes:
        return self._kernel.read(path)


@pytest.mark.parametrize("size", [0, 63, 65])
async def test_other_sizes_are_not_asked_for(size: int) -> None:
    with pytest.raises(LocalProtocolError):
        await ConfigfsTsm(Path("/tsm"), files=FakeKernel()).report(bytes(size))


async def test_kernel_without_reports_says_what_is_missing(tmp_path: Path) -> None:
    tsm = ConfigfsTsm(tmp_path / "none")
    with pytest.raises(BackendError, match="offers no reports") as caught:
        await tsm.report(DATA)
    assert "6.7" in caught.value.hint
    with pytest.raises(BackendError):
        await tsm.provider()


async def test_provider_is_told_without_a_report() -> None:
    kernel = FakeKernel()
    assert await ConfigfsTsm(Path("/tsm"), files=kernel).provider() == SEV_GUEST
    assert kernel.removed == list(kernel.written)
    with pytest.raises(BackendError):
        await ConfigfsTsm(Path("/tsm"), files=FakeKernel(blobs={})).provider()


class RecordedTree:
    """Real files: a directory that is made holds what was recorded, and counts writes as the kernel does."""

    def __init__(self, recorded: Path) -> None:
        self._recorded = recorded
        self._files = KernelFiles()

    def make(self, directory: Path) -> None:
        self._files.make(directory)
        shutil.copytree(self._recorded, directory, dirs_exist_ok=True)

    def write(self, path: Path, data: bytes) -> None:
        self._files.write(path, data)
        counter = path.parent / "generation"
        counter.write_text(str(int(counter.read_text()) + 1))

    def read(self, path: Path) -> bytes:
        return self._files.read(path)

    def remove(self, directory: Path) -> None:
        shutil.rmtree(directory)


async def test_recorded_tree_is_read(tmp_path: Path) -> None:
    recorded = tmp_path / "recorded"
    recorded.mkdir()
    for name, content in {"inblob": b"", "outblob": b"out", "provider": b"tdx_guest\n", "generation": b"4\n"}.items():
        (recorded / name).write_bytes(content)
    root = tmp_path / "report"
    root.mkdir()
    found = await ConfigfsTsm(root, files=RecordedTree(recorded)).report(DATA)
    assert (found.provider, found.report, found.auxiliary) == ("tdx_guest", b"out", b"")
    assert list(root.iterdir()) == []


def test_files_of_the_kernel_are_not_made(tmp_path: Path) -> None:
    files = KernelFiles()
    with pytest.raises(FileNotFoundError):
        files.write(tmp_path / "inblob", b"x")
    files.make(tmp_path / "request")
    files.remove(tmp_path / "request")
    assert list(tmp_path.iterdir()) == []


def test_short_write_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inblob").write_bytes(b"")
    monkeypatch.setattr("confsec.tee.configfs_tsm.os.write", lambda descriptor, data: len(data) - 1)
    with pytest.raises(OSError, match="short write"):
        KernelFiles().write(tmp_path / "inblob", b"xx")
