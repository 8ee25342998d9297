"""`confsec statement sign`: a statement of real things, or one more signature below a statement of others."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click
from attrs import frozen

from confsec.backends import system
from confsec.backends.dsse_keys import read_dsse_key
from confsec.backends.key_files import passphrase_from_file
from confsec.cli import statement_inputs as inputs
from confsec.cli.duration import DURATION
from confsec.cli.output import console, print_json, read_bytes, replace_bytes
from confsec.cli.printable import printable
from confsec.cli.statement_tree import ShownStatement, read_statement, statement_json, statement_tree
from confsec.cli.timestamp import TIMESTAMP
from confsec.errors import ConfigError, DecodeError, UnsupportedError, VerificationError
from confsec.protocol.dsse import DsseKey, Envelope
from confsec.protocol.predicates import Predicate
from confsec.protocol.signatures import SigningKey

__all__ = ["sign_command"]

_FILE: Final = click.Path(path_type=Path)
_SOURCES: Final = ("predicate", "directory", "key_configs", "issuer_keys", "revoke", "add")
_KINDS: Final = click.Choice(["statement", "key", "subject"])


@frozen(kw_only=True)
class _Options:
    """What the user wants to be said."""

    predicate: tuple[str, Path] | None
    directory: Path | None
    key_configs: Path | None
    issuer_keys: Path | None
    model: Path | None
    model_signing: Path | None
    model_key: Path | None
    unsafe_unsigned: bool
    ignore: tuple[str, ...]
    revoke: tuple[tuple[str, str, str], ...]
    add: Path | None
    name: str
    file: Path | None
    issued: datetime | None
    valid_from: datetime | None
    valid_for: timedelta | None
    valid_until: datetime | None

    def __attrs_post_init__(self) -> None:
        sources = sum(1 for name in _SOURCES if getattr(self, name)) + bool(self.model or self.model_signing)
        if sources != 1:
            raise ConfigError("what is to be signed?", got=f"{sources} of them", want="one: see --help")
        if self.valid_from is not None and self.key_configs is None:
            raise ConfigError("--valid-from is for --key-configs", hint="Leave it out")
        if self.ignore and (self.model is None or self.model_signing is not None):
            raise ConfigError("--ignore is for --model alone", hint="Leave it out")
        if self.model_signing is None and (self.model_key or self.unsafe_unsigned):
            raise ConfigError("--model-key and --unsafe-unsigned are for --model-signing", hint="Leave them out")
        if self.model_signing is not None and (self.model_key is None) is not self.unsafe_unsigned:
            raise ConfigError(
                "the digests of somebody else need a signature that you trust",
                hint="Either --model-key PEM, or --unsafe-unsigned",
            )
        if self.valid_for is not None and self.valid_until is not None:
            raise ConfigError("--valid-for and --valid-until exclude each other", hint="Leave one of them out")
        if self.add and (self.name or self.file or self.issued or self.valid_for or self.valid_until):
            raise ConfigError("--add signs what is there as it is", hint="Leave the other options out")

    @property
    def times(self) -> inputs.Times:
        """When it is said, in whole seconds, and until when it holds."""
        issued = (self.issued or system.now()).replace(microsecond=0)
        return inputs.Times(issued, self.valid_until if self.valid_for is None else issued + self.valid_for)


@click.command(name="sign", short_help="Sign a statement, or add a signature to one.")
@click.option(
    "--predicate",
    nargs=2,
    type=(click.Choice(list(inputs.TYPE_NAMES)), _FILE),
    metavar="TYPE FILE",
    help=f"A predicate in JSON or TOML (docs/spec/statements.md). TYPE is one of {', '.join(inputs.TYPE_NAMES)}.",
)
@click.option("--directory", type=_FILE, metavar="FILE", help="A service directory.")
@click.option(
    "--key-configs", type=_FILE, metavar="FILE", help="Key configurations, as a gateway publishes them at /ohttp-keys."
)
@click.option("--issuer-keys", type=_FILE, metavar="FILE", help="A service directory: the keys of its issuer.")
@click.option("--model", type=_FILE, metavar="FOLDER", help="A model: all files of a folder are hashed.")
@click.option(
    "--model-signing",
    type=_FILE,
    metavar="FILE",
    help="A model as OpenSSF model signing signed it. With --model, it is compared with the files.",
)
@click.option(
    "--model-key", type=_FILE, metavar="PEM", help="The public key (P-256) of whoever signed --model-signing."
)
@click.option(
    "--unsafe-unsigned", is_flag=True, help="Take --model-signing from anybody: nobody looks at its signature."
)
@click.option(
    "--ignore", multiple=True, metavar="PATH", help="With --model: a path that is passed over. May be repeated."
)
@click.option(
    "--revoke",
    multiple=True,
    nargs=3,
    type=(_KINDS, str, str),
    metavar="KIND SHA256 REASON",
    help="What is no longer good: a statement, a key or a subject. May be repeated.",
)
@click.option("--add", type=_FILE, metavar="ENVELOPE", help="Add a signature to a statement that was signed before.")
@click.option("--name", default="", metavar="NAME", help="What it is about: a service, a gateway, an issuer, a model.")
@click.option(
    "--file", type=_FILE, metavar="FILE", help="What it is about, for an image or a fleet record: it is hashed."
)
@click.option("--issued", type=TIMESTAMP, metavar="TIME", help="When it is said.  [default: now]")
@click.option(
    "--valid-from", type=TIMESTAMP, metavar="TIME", help="When key configurations begin.  [default: when it is said]"
)
@click.option(
    "--valid-for", type=DURATION, metavar="DURATION", help="How long it holds: 1d, 12h. Directories and keys must end."
)
@click.option("--valid-until", type=TIMESTAMP, metavar="TIME", help="Until when it holds, instead of --valid-for.")
@click.option("--key", required=True, type=_FILE, metavar="FILE", help="The key that signs.")
@click.option(
    "--passphrase-file", type=_FILE, metavar="FILE", help="A file of mode 0600 with the passphrase of the key."
)
@click.option("--out", type=_FILE, metavar="FILE", help="The envelope to write.  [with --add: the one that is read]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def sign_command(key: Path, passphrase_file: Path | None, out: Path | None, *, as_json: bool, **options: Any) -> None:
    """Make a statement and sign it, in a DSSE envelope. What was signed is shown.

    \b
    confsec statement sign --directory service.toml --name service.example --valid-for 1d \\
                           --key operator.key --out directory.dsse
    confsec statement sign --predicate image image.json --file node.img --key builder.key --out image.dsse
    confsec statement sign --model weights --name example-7b --key auditor.key --out model.dsse
    confsec statement sign --revoke key 5f2e… "The laptop was stolen." --name service.example \\
                           --key operator.key --out revocation.dsse
    confsec statement sign --add directory.dsse --key other.key

    What is signed stays so: only a revocation takes it back.
    """  # noqa: D301 - click keeps lines as they are after a backspace
    wanted = _Options(**options)
    target = out or wanted.add
    if target is None:
        raise ConfigError("where is the envelope to go?", hint="Give --out")
    signer = read_dsse_key(key, passphrase_from_file(passphrase_file) if passphrase_file else None)
    envelope = _open_to_add(wanted.add, signer) if wanted.add else _make(wanted)
    data = envelope.sign(signer).encode()
    shown = _read_again(data)
    replace_bytes(target, data)
    _print_signed(shown, target, DsseKey.of("signer", signer), as_json=as_json)


def _make(wanted: _Options) -> Envelope:
    """Make the statement. What nobody may say is the user's mistake. Raises `ConfigError`."""
    try:
        predicate = _read(wanted, wanted.times)
        return predicate.to_statement(*inputs.subjects_of(predicate, wanted.name, wanted.file)).to_envelope()
    except (DecodeError, UnsupportedError) as exc:
        raise ConfigError(f"this cannot be said: {exc}") from exc


def _read(wanted: _Options, times: inputs.Times) -> Predicate:
    if wanted.predicate:
        return inputs.read_predicate_file(*wanted.predicate, times)
    if wanted.directory:
        return inputs.read_directory(wanted.directory, times)
    if wanted.key_configs:
        return inputs.read_key_configs(wanted.key_configs, times, wanted.valid_from)
    if wanted.issuer_keys:
        return inputs.read_issuer_keys(wanted.issuer_keys, times)
    if wanted.revoke:
        return inputs.read_revoked(wanted.revoke, times)
    if wanted.model_signing:
        return inputs.read_signed_model(wanted.model_signing, wanted.model_key, wanted.model, times)
    return inputs.read_model_folder(wanted.model or Path(), wanted.ignore, times)


def _open_to_add(path: Path, signer: SigningKey) -> Envelope:
    """Return an envelope with a statement of ours that this key has not signed. Raises `ConfigError`."""
    envelope = _read_again(read_bytes(path, "the envelope")).envelope
    try:
        envelope.verify([DsseKey.of("signer", signer)])
    except VerificationError:
        return envelope
    raise ConfigError(f"this key has signed {path} before")


def _read_again(data: bytes) -> ShownStatement:
    """Read an envelope as others will, before it is signed or written. Raises `ConfigError` if they would refuse it."""
    try:
        shown = read_statement(Envelope.decode(data))
    except DecodeError as exc:
        raise ConfigError(f"nobody could read this statement: {exc}") from exc
    if shown.problem:
        raise ConfigError(f"nobody would take this statement: {shown.problem}")
    return shown


def _print_signed(shown: ShownStatement, path: Path, key: DsseKey, *, as_json: bool) -> None:
    if as_json:
        print_json({"file": str(path), "signed_with": key.key_id, **statement_json(shown)})
        return
    console().print(statement_tree(shown))
    click.echo(f"Signed with the key {key.key_id}, in {printable(str(path))}.")
