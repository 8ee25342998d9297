"""`make dist` twice, under two of everything that could get into what is built: `python -m tests.release.twice BIN`.

Two clones of this repository in two folders, at two times, under two umasks, locales and time zones, with stray files
in one of them. With `--everything`, which needs root and `faketime`, the second is built by another user, and in 2031.
Both digests of each file are printed, and the exit status is 1 if any two differ.

BIN is the folder of the commands of an environment in which confsec is installed with its extra `release`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parents[2]
NOBODY = 65_534
"""Debian's user `nobody`."""

STRAY = ("confsec/__pycache__/stray.cpython-311.pyc", "confsec/stray.egg-info/PKG-INFO", "confsec/protocol/stray.gguf")
"""Files that git ignores and that nobody wants in a wheel."""


@frozen
class Surroundings:
    """What must not matter."""

    folder: str
    umask: int
    locale: str
    zone: str
    stray: bool = False
    touched: int | None = None
    """The time of every file, in seconds; None for the time of the clone."""
    user: int | None = None
    """None for whoever calls this."""
    faked_time: str = ""

    def environment(self, home: Path) -> dict[str, str]:
        """Return the environment of the build."""
        names = {"LC_ALL": self.locale, "LANG": self.locale, "TZ": self.zone, "HOME": str(home), "USER": self.folder}
        return names | {"PATH": "/usr/local/bin:/usr/bin:/bin", "SOURCE_DATE_EPOCH": str(self.umask)}


ONE = Surroundings("one", 0o022, "C", "UTC")
TWO = Surroundings("another folder", 0o077, "C.UTF-8", "Asia/Kathmandu", stray=True, touched=1_000_000_000)
OTHER_USER = Surroundings(
    "another folder", 0o077, "C.UTF-8", "Asia/Kathmandu",
    stray=True, touched=1_000_000_000, user=NOBODY, faked_time="2031-02-03 04:05:06",
)  # fmt: skip


def dist(surroundings: Surroundings, work: Path, commands: Path, commit: str) -> dict[str, str]:
    """Return the digest of every file that `make dist` makes there."""
    folder, home = work / surroundings.folder / "clone", work / surroundings.folder / "home"
    home.mkdir(parents=True)
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", "--no-checkout", ROOT, folder], check=True)
    subprocess.run(["git", "-C", folder, "checkout", "--quiet", "--detach", commit], check=True)
    _prepare(surroundings, work / surroundings.folder, folder)
    # The environment is that of `commands`, so nothing is set up in the clone.
    command = ["make", "dist", f"BIN={commands}", "--old-file=.venv/.test"]
    if surroundings.faked_time:
        command = ["faketime", surroundings.faked_time, *command]
    if surroundings.user is not None:
        command = [*_as_user(surroundings.user), *command]
    subprocess.run(
        command, check=True, cwd=folder, env=surroundings.environment(home), umask=surroundings.umask,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted((folder / "dist").iterdir())}


def _prepare(surroundings: Surroundings, above: Path, folder: Path) -> None:
    for name in STRAY if surroundings.stray else ():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("stray")
    for path in [above, *above.rglob("*")]:
        if surroundings.touched is not None and ".git" not in path.parts:
            os.utime(path, (surroundings.touched, surroundings.touched))
        if surroundings.user is not None:
            os.chown(path, surroundings.user, surroundings.user)


def _as_user(user: int) -> list[str]:
    """Return what turns root into another user, who can still read BIN below root's home."""
    override = [f"--{kind}-caps=+dac_override" for kind in ("inh", "ambient")]
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *override]


def twice(second: Surroundings, commands: Path) -> list[tuple[str, str, str]]:
    """Return, for each file of a release, its name and its digest in each of the two surroundings."""
    head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    with tempfile.TemporaryDirectory(prefix="confsec-twice-") as made:
        work = Path(made)
        work.chmod(0o755)  # another user has to get to his clone
        one, two = (dist(surroundings, work, commands, head.stdout.strip()) for surroundings in (ONE, second))
    return [(name, one.get(name, "missing"), two.get(name, "missing")) for name in sorted(one.keys() | two.keys())]


def main(arguments: list[str]) -> int:
    """Run it, and return the exit status."""
    everything = "--everything" in arguments
    [commands] = [Path(word).resolve() for word in arguments if word != "--everything"]
    if everything and (os.geteuid() != 0 or shutil.which("faketime") is None):
        print("--everything needs root, and faketime: apt-get install faketime", file=sys.stderr)
        return 2
    files = twice(OTHER_USER if everything else TWO, commands)
    for name, one, two in files:
        print(f"  {name}\n    {one}\n    {two}  {'the same' if one == two else 'DIFFERENT'}")
    return 0 if len(files) == 3 and all(one == two for _, one, two in files) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
