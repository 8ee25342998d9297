"""The worst inputs that we know cost each decoder a bounded number of steps, or are refused before.

Times depend on the machine, so calls are counted: of our functions, and of the library's that these call.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import cbor2
import pytest

from benchmarks.appraise import clear_caches
from benchmarks.worst_inputs import MEGABYTE, worst_inputs
from confsec.errors import ConfigError, ConfsecError, DecodeError, LimitError
from confsec.protocol import cbor
from confsec.tee.registry import POLICIES
from confsec.tee.simulated.amd import SimulatedAmd
from confsec.tee.x509 import Certificate, verify_certificate_signature, verify_crl_signature
from confsec.tee.x509_signatures import _verify_recurring
from tests.fuzz.targets import TARGETS, Target

MAX_CALLS = 300_000
"""Some 40 ms where nothing else runs."""

DECODERS = [target for target in TARGETS if not target.name.startswith("verify-")]


@pytest.mark.parametrize("target", DECODERS, ids=lambda target: target.name)
def test_worst_inputs_take_a_bounded_number_of_steps(target: Target) -> None:
    for name, data in worst_inputs(target.name):
        assert len(data) <= MEGABYTE + 512
        clear_caches()
        assert count_calls(target, data) <= MAX_CALLS, name


def count_calls(target: Target, data: bytes) -> int:
    """Return how many calls it takes until a value or an error of ours."""
    calls = 0

    def count(frame: object, event: str, called: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        target.decode(data)
    except ConfsecError:
        pass
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("#" * ((256 << 10) + 1), "too long"),
        ("a=[" + "1," * 6_200 + "]", "too many parts"),
        ("a." * 65 + "b=1", "too many dots"),
        ("a=" + "[" * 4_000, "not TOML"),
        ("a=" + "1" * 5_000, "not TOML"),
    ],
    ids=["length", "parts", "dots", "depth", "number"],
)
def test_policy_that_would_take_long_is_refused(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        POLICIES.from_toml(text)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (cbor2.dumps([0] * cbor.MAX_ITEMS), "too many items"),
        (cbor2.dumps([b""] * (cbor.MAX_ITEMS - 1) + [bytes(9)]), "too many items"),
        (cbor2.dumps([[]] * cbor.MAX_CONTAINERS), "too many arrays"),
        (b"\x82\x5e" + cbor2.dumps(bytes(cbor.MAX_ITEMS)), "not CBOR"),
    ],
    ids=["numbers", "strings", "arrays", "malformed"],
)
def test_cbor_of_many_parts_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        cbor.decode(data, what="it", limit=MEGABYTE)


def test_cbor_of_as_many_parts_as_are_allowed_is_read() -> None:
    many: cbor.CborValue = [0] * (cbor.MAX_ITEMS - 3)
    assert cbor.decode(cbor.encode([many, bytes(2 * cbor.MAX_ITEMS)]), what="it", limit=MEGABYTE) is not None
    arrays: list[cbor.CborValue] = [[]] * (cbor.MAX_CONTAINERS - 1)
    assert cbor.decode(cbor.encode(arrays), what="it", limit=MEGABYTE) == arrays


@pytest.mark.parametrize("kind", ["certificate", "certificate-chain", "revocation-list"])
def test_certificate_of_many_extensions_is_refused(kind: str) -> None:
    (target,) = [target for target in TARGETS if target.name == kind]
    many = [data for name, data in worst_inputs(kind) if "extensions" in name]
    assert many
    for data in many:
        with pytest.raises(LimitError):
            target.decode(data)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("many names", lambda certificate: certificate.subject_alternative_names),
        ("many purposes", lambda certificate: certificate.extended_key_usage),
        ("many points", lambda certificate: certificate.crl_urls),
    ],
)
def test_long_extension_is_refused_when_somebody_asks(name: str, read: Callable[[Certificate], object]) -> None:
    certificate = Certificate.decode(dict(worst_inputs("certificate"))[name])
    with pytest.raises(LimitError):
        read(certificate)


def test_right_signature_of_an_authority_is_checked_once() -> None:
    amd = SimulatedAmd()
    clear_caches()
    for _ in range(3):
        verify_certificate_signature(amd.ask, amd.ark)
    assert _verify_recurring.cache_info()[:2] == (2, 1)


def test_wrong_signature_is_checked_each_time() -> None:
    amd = SimulatedAmd()
    clear_caches()
    for _ in range(3):
        with pytest.raises(ConfsecError):
            verify_certificate_signature(amd.ask, amd.asvk)
    assert _verify_recurring.cache_info()[:2] == (0, 3)


def test_signature_over_much_is_not_remembered() -> None:
    amd = SimulatedAmd()
    long = amd.issue_crl(revoked=tuple(range(2_000)))
    clear_caches()
    verify_crl_signature(long, amd.ark)
    assert len(long.tbs) > 32 << 10
    assert _verify_recurring.cache_info().currsize == 0
