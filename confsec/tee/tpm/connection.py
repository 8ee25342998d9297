"""What is said to a TPM: the one file that imports tpm2-pytss (extra `tpm`). Blocking; whoever calls it holds a lock.

Three rules hold here, also for a TPM without a resource manager:

1. One call at a time: an object of ESAPI is not re-entrant.
2. At most two loaded objects and one session at any time. Request keys stay loaded while nothing else is done, since
   loading takes longer than using; before anything else they make room.
3. What an operation loads it flushes, whatever happens.

Request keys are children of a key of the null hierarchy. Its seed is drawn anew at each start of the TPM, so no copy of
anything opens an old request after a restart. Between uses a key is a saved context, encrypted by the TPM; forgetting
that is what erases the key.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Final, Self, final

from attrs import field, frozen

from confsec.errors import (
    BackendError,
    ConfigError,
    DecodeError,
    LocalProtocolError,
    MissingExtraError,
    StateChangedError,
)
from confsec.protocol.wire import Reader
from confsec.tee.tpm import commands
from confsec.tee.tpm.evidence import TpmKey, TpmQuote
from confsec.tee.tpm.keys import (
    AK_TEMPLATE,
    BANK,
    PARENT_TEMPLATE,
    AkSource,
    EndorsementKey,
    TpmStatements,
    request_key_template,
)
from confsec.tee.tpm.structures import (
    Attest,
    Attributes,
    EccKey,
    PcrSelection,
    PublicArea,
    QuoteInfo,
    TpmSignature,
    decode_selections,
    encode_selections,
    pcr_policy_digest,
)

__all__ = ["BUILD_HINT", "MAX_LOADED", "Connection", "MadeKey", "explain", "is_broken"]

BUILD_HINT: Final = "apt-get install libtss2-dev pkg-config gcc python3-dev"
"""What Debian has to give before pip can build tpm2-pytss."""

MAX_LOADED: Final = 2
"""Objects that may be loaded at once."""

_ATTEMPTS: Final = 5
_TRANSIENT_OBJECTS: Final = 0x80000000
_LOADED_SESSIONS: Final = 0x02000000
_SAVED_SESSIONS: Final = 0x03000000
_NO_RESOURCE_MANAGER: Final = ("swtpm", "mssim")
_EK_KINDS: Final = ("EK-ECC256", "EK-RSA2048", "EK-HIGH-ECC256", "EK-HIGH-RSA2048", "EK-HIGH-ECC384")
_EK_CERTIFICATES: Final = (0x01C0000A, 0x01C00002, 0x01C00014, 0x01C00012, 0x01C00016)
"""Where those kinds have their certificates (TCG EK Credential Profile 2.5, section 2.2.1.4)."""

_EK_OF_ALL: Final = "EK-RSA2048"
_NV_BLOCK: Final = 512
_LAYER: Final = 16


@frozen(eq=False, kw_only=True)
class MadeKey:
    """A request key as TPM2_Create gave it, and the saved context that takes it back into the TPM."""

    public: PublicArea
    """The key."""

    point: bytes
    """Its uncompressed point: 65 bytes."""

    selection: PcrSelection
    """The PCRs that it is bound to."""

    values: Mapping[int, bytes]
    """What they have to be."""

    creation_data: bytes = field(repr=False)
    """TPMS_CREATION_DATA."""

    creation_hash: bytes
    """SHA-256 of that."""

    ticket: Any = field(repr=False)
    """The TPM's own proof that it made the key so."""

    context: Any = field(repr=False)
    """The key itself, encrypted by the TPM for itself."""

    selections: bytes = field(repr=False)
    """The PCRs as TPML_PCR_SELECTION."""


@final
class Connection:
    """ESAPI and the TCTI under it, with what is loaded."""

    def __init__(self, tss: Any, name: str) -> None:
        self._tss = tss
        self._tcti = tss.TCTILdr.parse(name)
        try:
            self._esapi = tss.ESAPI(self._tcti)
        except BaseException:
            self._tcti.close()
            raise
        self._keys: dict[MadeKey, tuple[Any, int]] = {}
        """ESAPI's handle and the TPM's for what is loaded, the key last used last."""
        self._session: tuple[Any, int] | None = None

    @classmethod
    def open(cls, name: str) -> Self:
        """Connect by the name of a TCTI. Raises `MissingExtraError` and `BackendError`."""
        tss = _load_tss()
        try:
            connection = cls(tss, name)
        except (tss.TSS2_Exception, ValueError) as exc:
            raise BackendError("the TPM cannot be reached", got=f"{name}: {exc}") from exc
        if name.partition(":")[0] in _NO_RESOURCE_MANAGER:
            connection.clear_out()
        return connection

    def close(self) -> None:
        """Unload what can be, and close."""
        with suppress(self._tss.TSS2_Exception, BackendError):
            self.unload()
        self._esapi.close()
        self._tcti.close()

    # --- What is loaded -----------------------------------------------------------------------------------------------

    def clear_out(self) -> None:
        """Flush what a predecessor left: this TPM serves one connection at a time, so it is nobody else's."""
        for kind in (_TRANSIENT_OBJECTS, _LOADED_SESSIONS, _SAVED_SESSIONS):
            for handle in self._handles(kind):
                self._transact(commands.flush_context(handle))

    def count_loaded(self) -> tuple[int, int]:
        """Return how many objects and sessions the TPM has loaded."""
        objects, *sessions = (
            len(self._handles(kind)) for kind in (_TRANSIENT_OBJECTS, _LOADED_SESSIONS, _SAVED_SESSIONS)
        )
        return objects, sum(sessions)

    def unload(self) -> None:
        """Unload all keys, and end the session."""
        for made in tuple(self._keys):
            self.unload_key(made)
        self._end_session()

    def unload_key(self, made: MadeKey) -> None:
        """Unload a key, if it is loaded."""
        loaded = self._keys.pop(made, None)
        if loaded is not None:
            self._esapi.flush_context(loaded[0])

    def _handles(self, kind: int) -> tuple[int, ...]:
        return commands.read_handles(self._transact(commands.get_handles(kind)))

    @contextmanager
    def _loaded(self, handle: Any) -> Iterator[Any]:
        """Flush a handle at the end, whatever happens."""
        try:
            yield handle
        finally:
            self._esapi.flush_context(handle)

    def _load_key(self, made: MadeKey) -> int:
        """Have a key loaded, in the place of the one that was used longest ago, and return the TPM's handle."""
        loaded = self._keys.pop(made, None)
        if loaded is None:
            while len(self._keys) >= MAX_LOADED:
                self.unload_key(next(iter(self._keys)))
            loaded = self._with_handle(self._esapi.context_load(made.context))
        self._keys[made] = loaded
        return loaded[1]

    def _policy_session(self) -> int:
        """Have the one session started, and return the TPM's handle."""
        if self._session is None:
            self._session = self._with_handle(self._start_session())
        return self._session[1]

    def _with_handle(self, handle: Any) -> tuple[Any, int]:
        return handle, int(self._esapi.tr_get_tpm_handle(handle))

    def _start_session(self) -> Any:
        tss = self._tss
        none, clear = tss.ESYS_TR.NONE, tss.TPMT_SYM_DEF(algorithm=tss.TPM2_ALG.NULL)
        return self._esapi.start_auth_session(none, none, tss.TPM2_SE.POLICY, clear, tss.TPM2_ALG.SHA256)

    def _end_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            self._esapi.flush_context(session[0])

    # --- Request keys -------------------------------------------------------------------------------------------------

    def ecdh(self, made: MadeKey, point: bytes) -> bytes:
        """Do ECDH with a request key. Raises `DecodeError` and `BackendError`."""
        for _ in range(_ATTEMPTS):
            key, session = self._load_key(made), self._policy_session()
            command = commands.ecdh_zgen(key, session, point)
            self._transact(commands.policy_pcr(session, made.selections))
            code, body = self._exchange(command)
            if code == 0:
                return commands.read_ecdh_zgen(body)
            # The session still holds what TPM2_PolicyPCR recorded: whoever comes next begins with a new one.
            self._end_session()
            if commands.response_code(code) != commands.RC_PCR_CHANGED:
                raise self._refuse_ecdh(made, code)
        raise BackendError("the PCRs change all the time")

    def _refuse_ecdh(self, made: MadeKey, code: int) -> BackendError | DecodeError:
        if commands.response_code(code) == commands.RC_ECC_POINT:
            return DecodeError("the public key is not on the curve P-256", section="TPM 2.0 Library, part 3, 14.5")
        # It may be the loaded object that is of no use any more, so the next request loads it anew.
        self.unload_key(made)
        return _refused(code)

    def create_key(self, selection: PcrSelection) -> MadeKey:
        """Make a request key that is bound to the PCRs as they are now."""
        self.unload()
        values = self.read_pcrs(selection)
        policy = pcr_policy_digest((selection,), values.values(), hash_algorithm=BANK)
        template = self._public(request_key_template(policy))
        with self._primary(PARENT_TEMPLATE, self._tss.ESYS_TR.RH_NULL) as parent:
            private, public, creation, digest, ticket = self._esapi.create(parent, self._sensitive(), template)
            with self._loaded(self._esapi.load(parent, private, public)) as handle:
                context = self._esapi.context_save(handle)
        area = _read_public(public)
        if not isinstance(area.key, EccKey):
            raise BackendError("the TPM made a key of another kind")
        return MadeKey(
            public=area,
            point=area.key.point,
            selection=selection,
            values=values,
            creation_data=_without_size(creation.marshal()),
            creation_hash=bytes(digest),
            ticket=ticket,
            context=context,
            selections=encode_selections((selection,)),
        )

    # --- PCRs ---------------------------------------------------------------------------------------------------------

    def read_pcrs(self, selection: PcrSelection) -> dict[int, bytes]:
        """Read PCRs in as many steps as it takes, all with the same update counter."""
        for _ in range(_ATTEMPTS):
            values: dict[int, bytes] = {}
            counters: set[int] = set()
            while missing := [index for index in selection.indices if index not in values]:
                counter, found = self._read_some_pcrs(missing)
                if not found:
                    raise ConfigError("the TPM has no SHA-256 bank of these PCRs", got=missing)
                counters.add(counter)
                values |= found
            if len(counters) == 1:
                return dict(sorted(values.items()))
        raise BackendError("the PCRs change all the time")

    def _read_some_pcrs(self, indices: list[int]) -> tuple[int, dict[int, bytes]]:
        """Read as many PCRs as the TPM gives at once: eight, as a rule."""
        counter, selected, digests = self._esapi.pcr_read(self._selections(PcrSelection.of(BANK, indices)))
        given = decode_selections(Reader(selected.marshal(), "a PCR selection"))
        numbers = [index for each in given for index in each.indices]
        return int(counter), dict(zip(numbers, map(bytes, digests), strict=True))

    def extend_pcr(self, pcr: int, digest: bytes) -> None:
        """Extend the SHA-256 bank of a PCR."""
        if len(digest) != BANK.digest_size:
            raise LocalProtocolError("a digest of another size", got=len(digest), want=BANK.digest_size)
        PcrSelection.of(BANK, (pcr,))  # refuses PCRs that there are not
        tss = self._tss
        extended = tss.TPMT_HA(hashAlg=tss.TPM2_ALG.SHA256, digest=tss.TPMU_HA(sha256=digest))
        self._esapi.pcr_extend(tss.ESYS_TR(pcr), tss.TPML_DIGEST_VALUES([extended]))

    # --- Attestation --------------------------------------------------------------------------------------------------

    def attestation_key(self, source: AkSource) -> PublicArea:
        """Return the public part of the AK."""
        self.unload()
        with self._attestation_key(source) as (_, public):
            return public

    def attest(self, made: MadeKey, qualifying_data: bytes, source: AkSource) -> TpmStatements:
        """Certify a request key, and quote the PCRs that it is bound to."""
        self.unload()
        scheme = self._tss.TPMT_SIG_SCHEME(scheme=self._tss.TPM2_ALG.NULL)
        certificate = self._certificate(source.certificate)
        with self._attestation_key(source) as (ak, public):
            with self._loaded(self._esapi.context_load(made.context)) as key:
                certified = self._esapi.certify_creation(
                    ak, key, qualifying_data, made.creation_hash, scheme, made.ticket
                )
            quoted = self._esapi.quote(ak, self._selections(made.selection), qualifying_data, scheme)
        quote = TpmQuote(
            attest=bytes(quoted[0]),
            signature=_read_signature(quoted[1]),
            selections=(made.selection,),
            values=tuple(made.values.values()),
        )
        _check_quote(quote)
        key_item = TpmKey(
            public=made.public,
            creation_data=made.creation_data,
            attest=bytes(certified[0]),
            signature=_read_signature(certified[1]),
        )
        return TpmStatements(ak=public, quote=quote, key=key_item, ak_certificate=certificate)

    @contextmanager
    def _attestation_key(self, source: AkSource) -> Iterator[tuple[Any, PublicArea]]:
        if source.handle is not None:
            with self._named(source.handle) as handle:
                if handle is None:
                    raise ConfigError("the TPM has no attestation key there", got=f"0x{source.handle:08x}")
                yield handle, _read_public(self._esapi.read_public(handle)[0])
            return
        template = AK_TEMPLATE if source.template is None else self._template(source.template)
        with self._primary(template, self._tss.ESYS_TR.ENDORSEMENT) as handle:
            yield handle, _read_public(self._esapi.read_public(handle)[0])

    @contextmanager
    def _named(self, handle: int) -> Iterator[Any]:
        """Give ESAPI's handle for something persistent, None where there is nothing, and let go of it at the end."""
        try:
            named = self._esapi.tr_from_tpmpublic(handle)
        except self._tss.TSS2_Exception as exc:
            if is_broken(exc):
                raise
            named = None
        try:
            yield named
        finally:
            if named is not None:
                self._esapi.tr_close(named)

    def _template(self, index: int) -> PublicArea:
        content = self.read_nv(index)
        if content is None:
            raise ConfigError("the TPM has no template of an attestation key there", got=f"0x{index:08x}")
        return PublicArea.decode(content)

    def _certificate(self, index: int | None) -> bytes | None:
        content = None if index is None else self.read_nv(index)
        return None if content is None else _trim_der(content)

    # --- The endorsement key ------------------------------------------------------------------------------------------

    def endorsement_key(self) -> EndorsementKey:
        """Return the endorsement key and its certificate."""
        self.unload()
        certificate, template = self._endorsement_template()
        with self._endorsement_key(template) as handle:
            public = _read_public(self._esapi.read_public(handle)[0])
        return EndorsementKey(public=public, certificate=_trim_der(certificate) if certificate else None)

    def ek_certificate(self) -> bytes | None:
        """Return the certificate of the endorsement key, if the TPM has one."""
        return next((found for found in map(self._certificate, _EK_CERTIFICATES) if found), None)

    def activate_credential(self, credential_blob: bytes, encrypted_secret: bytes, source: AkSource) -> bytes:
        """Open what was encrypted to the endorsement key and the name of the AK."""
        self.unload()
        tss = self._tss
        blob = tss.TPM2B_ID_OBJECT.unmarshal(credential_blob)[0]
        secret = tss.TPM2B_ENCRYPTED_SECRET.unmarshal(encrypted_secret)[0]
        _, template = self._endorsement_template()
        with (
            self._attestation_key(source) as (ak, _),
            self._endorsement_key(template) as ek,
            self._endorsement_authorization(template) as session,
        ):
            return bytes(self._esapi.activate_credential(ak, ek, blob, secret, tss.ESYS_TR.PASSWORD, session))

    def _endorsement_template(self) -> tuple[bytes | None, Any]:
        """Find the first profile whose certificate is there; the template of RSA-2048 if there is none."""
        utils = importlib.import_module("tpm2_pytss.utils")

        def read(index: int) -> bytes:
            content = self.read_nv(int(index))
            if content is None:
                raise utils.NoSuchIndex(index)
            return content

        for kind in _EK_KINDS:
            with suppress(ValueError):  # a profile of the high range is there only with its certificate
                certificate, template = utils.create_ek_template(kind, read)
                if certificate:
                    return certificate, template
        return None, utils.create_ek_template(_EK_OF_ALL, read)[1]

    def _endorsement_key(self, template: Any) -> AbstractContextManager[Any]:
        made = self._esapi.create_primary(self._sensitive(), template, self._tss.ESYS_TR.ENDORSEMENT)
        return self._loaded(made[0])

    @contextmanager
    def _endorsement_authorization(self, template: Any) -> Iterator[Any]:
        """Authorize the endorsement key: by PolicySecret of its hierarchy, or by its empty password.

        Templates of the low range have no password; those of the high range do (TCG EK Credential Profile, annex B).
        """
        public = PublicArea.decode(template.publicArea.marshal())
        if Attributes.USER_WITH_AUTH in public.attributes:
            yield self._tss.ESYS_TR.PASSWORD
            return
        with self._loaded(self._start_session()) as session:
            self._esapi.policy_secret(self._tss.ESYS_TR.ENDORSEMENT, session)
            yield session

    # --- Odds and ends ------------------------------------------------------------------------------------------------

    def read_nv(self, index: int, *, by_owner: bool = False) -> bytes | None:
        """Read an NV index with its own, or the owner's, empty password. None where there is none."""
        with self._named(index) as handle:
            if handle is None:
                return None
            by = self._tss.ESYS_TR.OWNER if by_owner else handle
            size = int(self._esapi.nv_read_public(handle)[0].nvPublic.dataSize)
            blocks = [
                bytes(self._esapi.nv_read(handle, min(_NV_BLOCK, size - start), start, by))
                for start in range(0, size, _NV_BLOCK)
            ]
        return b"".join(blocks)

    def write_nv(self, index: int, content: bytes) -> None:
        """Write an NV index as its owner, and define it where there is none."""
        tss = self._tss
        with self._named(index) as handle:
            if handle is None:
                attributes = tss.TPMA_NV.OWNERREAD | tss.TPMA_NV.OWNERWRITE
                attributes |= tss.TPMA_NV.AUTHREAD | tss.TPMA_NV.AUTHWRITE
                public = tss.TPMS_NV_PUBLIC(
                    nvIndex=index, nameAlg=tss.TPM2_ALG.SHA256, attributes=attributes, dataSize=len(content)
                )
                self._esapi.tr_close(self._esapi.nv_define_space(None, tss.TPM2B_NV_PUBLIC(nvPublic=public)))
        with self._named(index) as handle:
            for start in range(0, len(content), _NV_BLOCK):
                self._esapi.nv_write(handle, content[start : start + _NV_BLOCK], start, tss.ESYS_TR.OWNER)

    @contextmanager
    def _primary(self, template: PublicArea, hierarchy: Any) -> Iterator[Any]:
        made = self._esapi.create_primary(self._sensitive(), self._public(template), hierarchy)
        with self._loaded(made[0]) as handle:
            yield handle

    def _sensitive(self) -> Any:
        return self._tss.TPM2B_SENSITIVE_CREATE()

    def _public(self, template: PublicArea) -> Any:
        return self._tss.TPM2B_PUBLIC(publicArea=self._tss.TPMT_PUBLIC.unmarshal(template.encode())[0])

    def _selections(self, selection: PcrSelection) -> Any:
        return self._tss.TPML_PCR_SELECTION.unmarshal(encode_selections((selection,)))[0]

    def _transact(self, command: bytes) -> bytes:
        """Send a command that has to succeed. Raises `BackendError`."""
        code, body = self._exchange(command)
        if code != 0:
            raise _refused(code)
        return body

    def _exchange(self, command: bytes) -> tuple[int, bytes]:
        """Send a command, again where the TPM asks for that, and return the response code and what follows."""
        for _ in range(_ATTEMPTS):
            self._tcti.transmit(command)
            code, body = commands.read_response(self._tcti.receive())
            if code not in commands.RETRY_CODES:
                return code, body
        raise BackendError("the TPM is busy", hint="Try again later")


def _load_tss() -> Any:
    """Import tpm2-pytss. Raises `MissingExtraError`."""
    # Its C library writes every refusal to standard error, beside the exception that says the same.
    os.environ.setdefault("TSS2_LOG", "all+NONE")
    try:
        return importlib.import_module("tpm2_pytss")
    except ImportError as exc:
        raise MissingExtraError("tpm2-pytss", extra="tpm", before=BUILD_HINT) from exc


def is_broken(error: Exception) -> bool:
    """Tell whether an error that is none of ours means that the connection cannot be used any more."""
    code = getattr(error, "rc", None)
    return code is None or int(code) >> _LAYER != 0  # layer 0 is the TPM itself


def explain(error: Exception) -> BackendError:
    """Translate an error of tpm2-pytss. It has several classes for what it cannot do or read."""
    if getattr(error, "rc", None) is None:
        return BackendError("the TPM's library failed", got=type(error).__name__)
    return BackendError("the TPM cannot be reached" if is_broken(error) else "the TPM refused a command", got=error)


def _refused(code: int) -> BackendError:
    name = commands.RC_NAMES.get(commands.response_code(code), "an error")
    if commands.response_code(code) == commands.RC_POLICY_FAIL:
        return StateChangedError(
            "the TPM does not use the request key: a PCR was extended since it was attested",
            got=f"{name} (0x{code:03x})",
            hint="Requests for this node are over until its next epoch",
        )
    return BackendError("the TPM refused a command", got=f"{name} (0x{code:03x})")


def _check_quote(quote: TpmQuote) -> None:
    """See that the quote is of the values that the key is bound to: a quote of others would be refused by everybody."""
    quoted = Attest.decode(quote.attest).attested
    if not isinstance(quoted, QuoteInfo) or quoted.pcr_digest != BANK.digest(b"".join(quote.values)):
        raise BackendError("a PCR was extended since the request key was made", hint="Begin a new epoch")


def _read_public(public: Any) -> PublicArea:
    return PublicArea.decode(public.publicArea.marshal())


def _read_signature(signature: Any) -> TpmSignature:
    reader = Reader(signature.marshal(), "a TPM signature")
    read = TpmSignature.read(reader)
    reader.finish()
    return read


def _without_size(data: bytes) -> bytes:
    reader = Reader(data, "a TPM2B")
    content = reader.vector(2)
    reader.finish()
    return content


def _trim_der(content: bytes) -> bytes:
    """Cut off what stands behind a certificate in NV: indices are often larger than what is in them (X.690, 8.1.3)."""
    reader = Reader(content, "a certificate")
    reader.take(1)
    first = reader.uint(1)
    size = first if first < 0x80 else reader.uint(first & 0x7F)
    return content[: reader.position + size]
