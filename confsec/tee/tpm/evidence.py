"""The items of evidence that a TPM adds, and the endorsements that go with them: which structures stand in which order.

Everything is in the TPM's own wire format, big-endian (TPM 2.0 Library, Part 2), one structure after the other. The
operator ‖ joins; nothing is between them and nothing after::

    tpm-ak     TPMT_PUBLIC of the attestation key
    tpm-quote  TPM2B_ATTEST (TPM2_Quote) ‖ TPMT_SIGNATURE ‖ TPML_PCR_SELECTION ‖ UINT32 count ‖ count × TPM2B_DIGEST
    tpm-key    TPMT_PUBLIC of the request key ‖ TPM2B_CREATION_DATA ‖ TPM2B_ATTEST (TPM2_CertifyCreation)
               ‖ TPMT_SIGNATURE
    tpm-log    the event log, raw, as `binary_bios_measurements` of securityfs has it; a node may append records in the
               same form for what it extended itself

The PCR values stand in the order in which the TPM hashes them: bank after bank as selected, PCRs ascending. Both
signatures are by the AK, and both have the first 32 bytes of the binding as qualifying data. The creation data of the
request key is what TPM2_Create returned, byte for byte.

Beside the evidence travel endorsements, by these labels:

`tpm-ak-certificate`
    The AK's certificate and those above it, up to the root: DER one after the other, or PEM.
`tpm-ek-certificate`
    The same for the endorsement key.
`tpm-ak-statement`
    A registrar's statement that the AK is in the TPM of that endorsement key (`registrar.py`).

Reading an item takes it apart and no more. What is signed stays bytes until the signature was checked.
"""

from __future__ import annotations

from typing import Final, Self

from attrs import field, frozen

from confsec.errors import DecodeError, LimitError
from confsec.protocol.wire import Reader, encode_uint, encode_vector
from confsec.tee.event_log import HashAlgorithm
from confsec.tee.tpm.structures import (
    MAX_ATTEST,
    MAX_CREATION_DATA,
    PcrSelection,
    PublicArea,
    TpmSignature,
    decode_selections,
    encode_selections,
)

__all__ = [
    "ENDORSEMENT_MEDIA_TYPES",
    "MAX_KEY_ITEM",
    "MAX_PCR_VALUES",
    "MAX_QUOTE_ITEM",
    "TPM_AK_CERTIFICATE",
    "TPM_AK_STATEMENT",
    "TPM_EK_CERTIFICATE",
    "TpmKey",
    "TpmQuote",
]

TPM_AK_CERTIFICATE: Final = "tpm-ak-certificate"
"""The chain of the AK, as clouds issue it."""

TPM_EK_CERTIFICATE: Final = "tpm-ek-certificate"
"""The chain of the endorsement key, as manufacturers issue it."""

TPM_AK_STATEMENT: Final = "tpm-ak-statement"
"""A registrar's statement about AK and endorsement key."""

ENDORSEMENT_MEDIA_TYPES: Final = {
    TPM_AK_CERTIFICATE: "application/pkix-cert",
    TPM_EK_CERTIFICATE: "application/pkix-cert",
    TPM_AK_STATEMENT: "application/vnd.confsec.tpm-ak-statement",
}
"""The media type of each endorsement."""

MAX_PCR_VALUES: Final = 64
"""A quote brings at most 64 PCR values: two banks of 24 fit."""

MAX_QUOTE_ITEM: Final = 8192
"""The item `tpm-quote` has at most 8 KiB."""

MAX_KEY_ITEM: Final = 8192
"""The item `tpm-key` has at most 8 KiB."""


@frozen(kw_only=True)
class TpmQuote:
    """The item `tpm-quote`."""

    attest: bytes = field(repr=False)
    """The TPMS_ATTEST, as it was signed."""

    signature: TpmSignature
    """By the AK, over `attest`."""

    selections: tuple[PcrSelection, ...]
    """Which PCRs `values` are of. Not signed: it has to equal what `attest` says."""

    values: tuple[bytes, ...] = field(repr=False)
    """The values of the selected PCRs, in their order. Not signed: their hash is in `attest`."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the item. Raises `DecodeError`, and `LimitError` for more than 8 KiB or 64 values."""
        reader = _reader(data, "tpm-quote", MAX_QUOTE_ITEM)
        quote = cls(
            attest=reader.vector(2, limit=MAX_ATTEST),
            signature=TpmSignature.read(reader),
            selections=decode_selections(reader),
            values=_read_values(reader),
        )
        reader.finish()
        if quote.sizes != [len(value) for value in quote.values]:
            raise DecodeError(
                "the PCR values are not those of the selection", got=len(quote.values), want=len(quote.sizes)
            )
        return quote

    def encode(self) -> bytes:
        return (
            encode_vector(self.attest, 2)
            + self.signature.encode()
            + encode_selections(self.selections)
            + encode_uint(len(self.values), 4)
            + b"".join(encode_vector(value, 2) for value in self.values)
        )

    @property
    def sizes(self) -> list[int]:
        """How many bytes each value has to have, by the selection."""
        return [each.bank.digest_size for each in self.selections for _ in each.indices]

    def pcrs(self, bank: HashAlgorithm) -> dict[int, bytes]:
        """Return the values of one bank by the number of the PCR."""
        places = [(each.bank, index) for each in self.selections for index in each.indices]
        return {index: value for (of, index), value in zip(places, self.values, strict=True) if of is bank}


@frozen(kw_only=True)
class TpmKey:
    """The item `tpm-key`: the P-256 half of the request key, certified by the AK of the same TPM."""

    public: PublicArea
    """The request key."""

    creation_data: bytes = field(repr=False)
    """Its TPMS_CREATION_DATA, as the TPM returned it."""

    attest: bytes = field(repr=False)
    """The TPMS_ATTEST of TPM2_CertifyCreation, as it was signed."""

    signature: TpmSignature
    """By the AK, over `attest`."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the item. Raises `DecodeError`, and `LimitError` for more than 8 KiB."""
        reader = _reader(data, "tpm-key", MAX_KEY_ITEM)
        key = cls(
            public=PublicArea.read(reader),
            creation_data=reader.vector(2, limit=MAX_CREATION_DATA),
            attest=reader.vector(2, limit=MAX_ATTEST),
            signature=TpmSignature.read(reader),
        )
        reader.finish()
        return key

    def encode(self) -> bytes:
        return (
            self.public.encode()
            + encode_vector(self.creation_data, 2)
            + encode_vector(self.attest, 2)
            + self.signature.encode()
        )


def _reader(data: bytes, what: str, limit: int) -> Reader:
    if len(data) > limit:
        raise LimitError(f"{what} is too long", got=f"{len(data)} bytes", want=f"at most {limit}")
    return Reader(data, what)


def _read_values(reader: Reader) -> tuple[bytes, ...]:
    count = reader.uint(4)
    if count > MAX_PCR_VALUES:
        raise LimitError("a quote brings too many PCR values", got=count, want=f"at most {MAX_PCR_VALUES}")
    return tuple(reader.vector(2, limit=64) for _ in range(count))
