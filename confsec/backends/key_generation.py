"""Making an issuer's keys. Safe primes, which public metadata takes, are searched for on all processors at once."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Lock
from typing import Final, final

from attrs import frozen

from confsec.backends.libcrypto import BigNumbers, Libcrypto, find_libcrypto
from confsec.backends.libcrypto_rsa import LibcryptoKey
from confsec.backends.software_signer import processors
from confsec.errors import ConfigError
from confsec.protocol.rsa_keys import TOKEN_EXPONENT

__all__ = ["KEY_SIZES", "Progress", "SearchProgress", "generate_key"]

KEY_SIZES: Final = (2048, 3072, 4096)
"""Bits of a modulus. Token keys have the first; signing under public metadata takes the first or the last."""

_CALLBACK: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
_CANDIDATE: Final = 0  # the first argument of the callback, for each number that is tested (BN_generate_prime_ex(3))

_PRIMES: Final = 2


@final
@frozen
class SearchProgress:
    """How far a search for safe primes has come. How long it will take nobody knows: it is a matter of luck."""

    tried: int
    """Numbers without small factors that were tested."""

    found: int
    """Primes found, of the two that are needed."""


Progress = Callable[[SearchProgress], None]
"""Is told of each number that is tested, from the threads that search, one at a time. Raising ends the search."""


def generate_key(
    bits: int = KEY_SIZES[0], *, safe_primes: bool = False, progress: Progress | None = None
) -> LibcryptoKey:
    """Make a private key with the exponent 65537. Blocks, for safe primes seconds (2048 bits) or many minutes (4096).

    Raises `ConfigError` for another size, `UnsupportedError` without a libcrypto that works, and `BackendError`.
    """
    if bits not in KEY_SIZES:
        raise ConfigError("an issuer's key cannot have this size", got=f"{bits} bits", want=f"one of {KEY_SIZES}")
    if not safe_primes:
        return LibcryptoKey.generate(bits)
    libcrypto = find_libcrypto()
    with BigNumbers(libcrypto) as numbers:
        search = _Search(libcrypto, bits // 2, progress)
        p, q = search.run([numbers.new() for _ in range(max(2, processors()))])
        return LibcryptoKey.from_primes(libcrypto, numbers, p, q, numbers.of(TOKEN_EXPONENT))


class _Search:
    """A search for two safe primes, with as many threads as it gets numbers to find them in."""

    def __init__(self, libcrypto: Libcrypto, bits: int, progress: Progress | None) -> None:
        self._lib = libcrypto
        self._bits = bits
        self._progress = progress
        self._lock = Lock()
        self._tried = 0
        self._ended = False
        self._found: list[int] = []
        self._error: BaseException | None = None

    def run(self, numbers: list[int]) -> list[int]:
        """Return two of the numbers, which are safe primes then. Raises what `progress` raised."""
        with ThreadPoolExecutor(len(numbers)) as pool:
            try:
                for future in as_completed([pool.submit(self._find, number) for number in numbers]):
                    future.result()
            finally:
                self._ended = True
        if self._error is not None:
            raise self._error
        return self._found

    def _find(self, number: int) -> None:
        c = self._lib.c
        generator = self._lib.check(c.BN_GENCB_new(), "making room")
        on_step = _CALLBACK(self._on_step)
        c.BN_GENCB_set(generator, on_step, None)
        try:
            result = c.BN_generate_prime_ex(number, self._bits, 1, None, None, generator)
        finally:
            c.BN_GENCB_free(generator)
        with self._lock:
            if self._ended:
                c.ERR_clear_error()
                return
            self._lib.check(result, "searching for primes")
            self._found.append(number)
            self._ended = len(self._found) == _PRIMES

    def _on_step(self, kind: int, _count: int, _generator: int | None) -> int:
        """Count, tell, and say whether to go on."""
        with self._lock:
            if kind == _CANDIDATE and not self._ended:
                self._tried += 1
                self._tell()
            return int(not self._ended)

    def _tell(self) -> None:
        if self._progress is None:
            return
        try:
            self._progress(SearchProgress(self._tried, len(self._found)))
        except BaseException as exc:  # noqa: BLE001  # it cannot pass through libcrypto, so `run` raises it
            self._error, self._ended = exc, True
