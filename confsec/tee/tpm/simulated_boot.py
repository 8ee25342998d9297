"""A boot that did not happen, for a software TPM that no firmware ever used: for `confsec demo` and for tests.

What is measured is made up. The rest is as after a real boot with Secure Boot and a unified kernel image: the log has
the form of the TCG's, each digest in it is extended into the TPM (`swtpm.measure_boot`), and a verifier finds in it
what it looks for. So the checks of a log run for real, and one changed measurement is found out as on a real machine.
"""

from __future__ import annotations

from typing import Final

from attrs import field, frozen

from confsec.tee.event_log import Event, EventLog, EventType, HashAlgorithm
from confsec.tee.measured_boot import command_line_digest
from confsec.tee.tpm.keys import BANK

__all__ = ["SimulatedBoot", "measured_event"]

_FIRMWARE_BLOB2: Final = 0x8000000A
"""EV_EFI_PLATFORM_FIRMWARE_BLOB2 (TCG PC Client Platform Firmware Profile 1.06, section 10.4.1)."""

_SPEC_ID: Final = (
    b"Spec ID Event03\x00"
    + bytes(4)  # platform class: client
    + bytes((0, 2, 106, 2))  # version 2.0, errata 106, UINTN of 64 bits
    + (1).to_bytes(4, "little")
    + HashAlgorithm.SHA256.to_bytes(2, "little")
    + (32).to_bytes(2, "little")
    + b"\x00"
)
_GLOBAL_VARIABLE: Final = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")
"""EFI_GLOBAL_VARIABLE (UEFI 2.10, section 3.3)."""

_SECURITY_DATABASE: Final = bytes.fromhex("cbb219d73a3d9645a3bcdad00e67656f")
"""EFI_IMAGE_SECURITY_DATABASE_GUID (UEFI 2.10, section 32.4.1)."""

_X509: Final = bytes.fromhex("a159c0a5e494a74a87b5ab155c2bf072")
"""EFI_CERT_X509_GUID (UEFI 2.10, section 32.4.1)."""

_OWNER: Final = b"confsec-demo-own"
"""The GUID of whoever enrolled the keys: 16 bytes."""

_SEPARATOR: Final = bytes(4)
_FIRMWARE_PCRS: Final = (0, 1, 2, 3, 4, 5, 6, 7)


@frozen(kw_only=True)
class SimulatedBoot:
    """What such a boot measures. Change a field with `attrs.evolve`, and the measurements change as they would."""

    firmware: bytes = field(default=b"simulated firmware, version 1", repr=False)
    """Goes into PCR 0."""

    secure_boot: bool = True
    """The variable SecureBoot, in PCR 7."""

    signer: bytes = field(default=b"simulated certificate of who signs kernels", repr=False)
    """Stands in `db`, and allowed the kernel: PCR 7."""

    kernel: bytes = field(default=b"simulated kernel, version 6.12", repr=False)
    """A section of the unified kernel image: PCR 11, and with the others PCR 4."""

    initrd: bytes = field(default=b"simulated initrd that mounts the root with dm-verity", repr=False)
    """A section, and measured by the kernel into PCR 9."""

    os_release: bytes = field(default=b"ID=confsec-demo\nVERSION_ID=1\n", repr=False)
    """A section."""

    command_line: str = (
        "console=ttyS0 lockdown=confidentiality panic=-1 quiet "
        "confsec.roothash=5f6a1e7d0c9b3a28f4e6d5c7b8a90123456789abcdef0123456789abcdef0123"
    )
    """A section, and measured by the kernel into PCR 9: it names the root of the system's files."""

    @property
    def application(self) -> bytes:
        """The digest of the unified kernel image in PCR 4: over its sections here, as there is no PE file."""
        return BANK.digest(b"".join(content for _, content in self._sections))

    def log(self) -> EventLog:
        """Return the event log, with digests of SHA-256."""
        head = Event(0, EventType.NO_ACTION, {HashAlgorithm.SHA1: bytes(20)}, _SPEC_ID)
        events = (head, *self._firmware(), *self._unified_kernel(), *self._kernel())
        return EventLog(events=events, algorithms={BANK: BANK.digest_size}, crypto_agile=True)

    @property
    def _sections(self) -> tuple[tuple[str, bytes], ...]:
        """The sections in the order in which systemd-stub measures them."""
        return (
            (".linux", self.kernel),
            (".osrel", self.os_release),
            (".cmdline", self.command_line.encode()),
            (".initrd", self.initrd),
        )

    def _firmware(self) -> tuple[Event, ...]:
        """Return what firmware measures until it starts the boot application (section 3.3.4 of the profile)."""
        version = "confsec demo\x00".encode("utf-16-le")
        blob = b"\x05DXEFV" + bytes(16)  # a label: where the blob was, and not what is in it
        owned = _signature_list(self.signer)
        return (
            measured_event(0, EventType.S_CRTM_VERSION, version),
            measured_event(0, _FIRMWARE_BLOB2, blob, digest=BANK.digest(self.firmware)),
            _variable(_GLOBAL_VARIABLE, "SecureBoot", bytes((self.secure_boot,))),
            _variable(_GLOBAL_VARIABLE, "PK", owned),
            _variable(_GLOBAL_VARIABLE, "KEK", owned),
            _variable(_SECURITY_DATABASE, "db", owned),
            _variable(_SECURITY_DATABASE, "dbx", b""),
            measured_event(4, EventType.EFI_ACTION, b"Calling EFI Application from Boot Option"),
            *(measured_event(pcr, EventType.SEPARATOR, _SEPARATOR) for pcr in _FIRMWARE_PCRS),
            _variable(_SECURITY_DATABASE, "db", _OWNER + self.signer, EventType.EFI_VARIABLE_AUTHORITY),
            measured_event(4, EventType.EFI_BOOT_SERVICES_APPLICATION, b"\\EFI\\BOOT", digest=self.application),
        )

    def _unified_kernel(self) -> tuple[Event, ...]:
        """Return what systemd-stub measures: of each section the name, then the content (systemd-stub(7))."""
        events: list[Event] = []
        for name, content in self._sections:
            label = f"{name}\x00".encode("utf-16-le")
            events += [
                measured_event(11, EventType.IPL, label, digest=BANK.digest(name.encode() + b"\x00")),
                measured_event(11, EventType.IPL, label, digest=BANK.digest(content)),
            ]
        return tuple(events)

    def _kernel(self) -> tuple[Event, ...]:
        """Return what Linux measures (drivers/firmware/efi/libstub), and how it leaves the boot services."""
        return (
            measured_event(
                9,
                EventType.EVENT_TAG,
                b"LOADED_IMAGE::LoadOptions\x00",
                digest=command_line_digest(self.command_line, BANK),
            ),
            measured_event(9, EventType.EVENT_TAG, b"Linux initrd\x00", digest=BANK.digest(self.initrd)),
            measured_event(5, EventType.EFI_ACTION, b"Exit Boot Services Invocation"),
            measured_event(5, EventType.EFI_ACTION, b"Exit Boot Services Returned with Success"),
        )


def measured_event(pcr: int, event_type: int, data: bytes, *, digest: bytes | None = None) -> Event:
    """Return an event over `data`; with `digest`, one over something else, which `data` only labels."""
    return Event(pcr, event_type, {BANK: BANK.digest(data) if digest is None else digest}, data)


def _variable(guid: bytes, name: str, value: bytes, event_type: int = EventType.EFI_VARIABLE_DRIVER_CONFIG) -> Event:
    """Return the event of a variable in PCR 7: a UEFI_VARIABLE_DATA (section 10.2.6 of the profile)."""
    sizes = len(name).to_bytes(8, "little") + len(value).to_bytes(8, "little")
    return measured_event(7, event_type, guid + sizes + name.encode("utf-16-le") + value)


def _signature_list(certificate: bytes) -> bytes:
    """Return an EFI_SIGNATURE_LIST of one certificate (UEFI 2.10, section 32.4.1)."""
    size = len(_OWNER) + len(certificate)
    sizes = b"".join(each.to_bytes(4, "little") for each in (len(_X509) + 12 + size, 0, size))
    return _X509 + sizes + _OWNER + certificate
