"""`confsec release`: building the files of a release, saying so in public, and checking what others say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from confsec.backends import system
from confsec.backends.key_files import passphrase_from_file
from confsec.cli.output import print_json, read_bytes, replace_bytes
from confsec.cli.printable import printable
from confsec.errors import ConfigError, DecodeError, UnsupportedError, VerificationError
from confsec.protocol.wire import decode_base64

if TYPE_CHECKING:
    from confsec.protocol.dsse import DsseKey
    from confsec.protocol.predicates import Release
    from confsec.release.build import Artifact
    from confsec.release.source import SourceTree
    from confsec.release.verify import Comparison

__all__ = ["command"]

_FILE: Final = click.Path(path_type=Path)

_source = click.option(
    "--source", type=_FILE, default=".", show_default=True, metavar="PATH", help="A clone of the repository."
)
_commit = click.option(
    "--commit",
    default="",
    metavar="REVISION",
    help="What to build.  [default: HEAD, if the work tree is what is committed]",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group(name="release")
def command() -> None:
    """Build releases that anyone can build again, and check whether a wheel is one.

    \b
    confsec release build --out dist
    confsec release statement --dist dist --repository https://git.example/confsec \\
                              --key release.key --out dist/release.json
    confsec release verify confsec_protocol-0.1.0-py3-none-any.whl --source confsec

    docs/reproducible-builds.md explains it.
    """  # noqa: D301 - click keeps lines as they are after a backspace


@command.command(name="build", short_help="Build wheel, sdist and bill of materials.")
@_source
@_commit
@click.option("--out", type=_FILE, default="dist", show_default=True, metavar="DIR", help="Where the files go.")
@_json
def _build(source: Path, commit: str, out: Path, *, as_json: bool) -> None:
    """Build wheel, sdist and bill of materials (CycloneDX) of a commit, the same bit for bit everywhere.

    \b
    confsec release build
    confsec release build --source confsec --commit v0.1.0 --out dist

    The work tree does not enter, only what is committed. Nothing is downloaded.
    """  # noqa: D301 - click keeps lines as they are after a backspace
    from confsec.release.sbom import build_release

    tree = _read(source, commit)
    artifacts = build_release(tree)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(f"{out} cannot be made", got=exc.strerror) from exc
    for artifact in artifacts:
        replace_bytes(out / artifact.name, artifact.data)
    _print_built(tree, artifacts, as_json=as_json)


@command.command(name="statement", short_help="Say in public what a commit gives, and sign it.")
@_source
@_commit
@click.option("--repository", required=True, metavar="URL", help="Where everybody finds the commit: an https URL.")
@click.option("--dist", type=_FILE, metavar="DIR", help="Sign only if the files in DIR are what the commit gives.")
@click.option("--key", required=True, type=_FILE, metavar="FILE", help="The private key, Ed25519 or P-256, in PEM.")
@click.option("--passphrase-file", type=_FILE, metavar="FILE", help="A file of mode 0600 with the key's passphrase.")
@click.option("--out", required=True, type=_FILE, metavar="FILE", help="The file to write.")
@_json
def _statement(
    source: Path,
    commit: str,
    repository: str,
    dist: Path | None,
    key: Path,
    passphrase_file: Path | None,
    out: Path,
    *,
    as_json: bool,
) -> None:
    """Build a commit, and sign a statement of its digests and of the tools (in-toto, in a DSSE envelope).

    \b
    openssl genpkey -algorithm ed25519 -out release.key
    confsec release statement --repository https://git.example/confsec --dist dist \\
                              --key release.key --out dist/release.json
    """  # noqa: D301 - click keeps lines as they are after a backspace
    from confsec.backends.dsse_keys import read_dsse_key
    from confsec.release.build import toolchain
    from confsec.release.sbom import SBOM_TOOLS, build_release
    from confsec.release.statement import make_release, sign_release
    from confsec.release.verify import compare_all

    signing_key = read_dsse_key(key, passphrase_from_file(passphrase_file) if passphrase_file else None)
    tree = _read(source, commit)
    artifacts = build_release(tree)
    if dist:
        compare_all(dist, artifacts)
    tools = toolchain(*SBOM_TOOLS)
    release = make_release(tree, artifacts, repository=repository, tools=tools, issued=system.now())
    replace_bytes(out, sign_release(release, signing_key))
    _print_built(tree, artifacts, as_json=as_json)


@command.command(name="verify", short_help="Build a wheel again, and compare.")
@click.argument("wheel", type=_FILE)
@_source
@click.option(
    "--commit",
    default="",
    metavar="REVISION",
    help="What to build.  [default: what the statement names, or the tag of the wheel's version]",
)
@click.option("--statement", type=_FILE, metavar="FILE", help="The signed statement of the release.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="KEY",
    help="A public key that has to have signed it: a file in PEM, or its base64. May be repeated.",
)
@click.option("--policy", type=_FILE, metavar="FILE", help="Who may say it, instead of keys (TOML).")
@click.option("--trusted-root", type=_FILE, metavar="FILE", help="The roots of Sigstore, for policies with identities.")
@_json
def _verify(wheel: Path, source: Path, commit: str, *, as_json: bool, **signed: Any) -> int:
    """Build WHEEL again from its commit, and say whether it is the same, or where it differs first.

    \b
    confsec release verify confsec_protocol-0.1.0-py3-none-any.whl --source confsec
    confsec release verify confsec_protocol-0.1.0-py3-none-any.whl --source confsec \\
                           --statement release.json --key release.pub

    WHEEL may also be the sdist or the bill of materials. With a statement, every file that it names is built and
    compared with its digest there. No code of the commit is run, and nothing is downloaded.

    Exit status: 0 the same, 1 different or a statement that nobody believes, 2 wrong input or another backend.
    """  # noqa: D301 - click keeps lines as they are after a backspace
    from confsec.release.build import Artifact
    from confsec.release.verify import compare

    given = Artifact(wheel.name, _read_file(wheel))
    try:
        release = _believed(**signed)
        comparison = compare(given, source, revision=commit, release=release)
    except VerificationError as exc:
        if not as_json:
            raise
        print_json({"verdict": "refused", "code": exc.code, "why": str(exc)})
        return 1
    if as_json:
        print_json(comparison.to_json())
    else:
        _print(comparison, release)
    return 1 if comparison.difference else 0


def _read(source: Path, commit: str) -> SourceTree:
    from confsec.release.source import find_commit, read_commit, require_clean

    if not commit:
        require_clean(source)
    return read_commit(source, find_commit(source, commit or "HEAD"))


def _read_file(path: Path) -> bytes:
    from confsec.release.archives import MAX_FILE, check_kind

    check_kind(path.name)
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE + 1)
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read", got=exc.strerror) from exc


def _believed(
    statement: Path | None, keys: tuple[str, ...], policy: Path | None, trusted_root: Path | None
) -> Release | None:
    """Return what the statement says, if there is one. Raises `ConfigError` for one without anybody to believe."""
    from confsec.cli.statement_verify import read_rules
    from confsec.release.statement import policy_of, verify_release

    if bool(keys) + bool(policy) != bool(statement):
        raise ConfigError(
            "a statement counts for whoever has the key of its signer", got=f"{len(keys)} keys",
            hint="Give --statement with --key or --policy",
        )  # fmt: skip
    if statement is None:
        return None
    rules = read_rules(policy, trusted_root) if policy else policy_of([_public_key(key) for key in keys])
    return verify_release(read_bytes(statement, "the statement"), rules, at=system.now())


def _public_key(key: str) -> DsseKey:
    """Read a key as it stands in policies, and as `confsec statement key` prints it, or else the file of this name."""
    from confsec.backends.dsse_keys import read_public_dsse_key
    from confsec.protocol.dsse import DsseKey

    try:
        spki = decode_base64(key)
        return DsseKey(DsseKey("unnamed", spki).key_id, spki)
    except (DecodeError, UnsupportedError):
        return read_public_dsse_key(Path(key))


def _print_built(tree: SourceTree, artifacts: Sequence[Artifact], *, as_json: bool) -> None:
    digests = {artifact.name: artifact.digest.hex() for artifact in artifacts}
    if as_json:
        print_json({"commit": tree.commit, "artifacts": digests})
        return
    for name, digest in digests.items():
        click.echo(f"{digest}  {name}")


def _print(comparison: Comparison, release: Release | None) -> None:
    name, difference = printable(comparison.given.name), comparison.difference
    if difference is None:
        click.echo(f"REPRODUCED: {name} is what the commit gives, bit for bit")
    else:
        click.echo(f"DIFFERENT: {name} is not what the commit gives. The first difference:")
        click.echo(f"  where    {printable(', '.join(filter(None, (difference.member, difference.where))))}")
        click.echo(f"  given    {printable(difference.given)}")
        click.echo(f"  built    {printable(difference.built)}")
    click.echo(f"  commit   {comparison.commit}")
    click.echo(f"  sha256   {comparison.given.digest.hex()}")
    if release and difference is None:
        click.echo(f"  signed   for {printable(release.source)}, as are:")
        for artifact in release.artifacts:
            click.echo(f"           {artifact.digest.hex()}  {printable(artifact.name)}")
    for tool in comparison.tools if difference else ():
        click.echo(f"  tools    {printable(tool)}")
