"""The page of a log in a real browser: what it says of a good log, of a bad one, and of one that lies twice."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest

from confsec.protocol.merkle import leaf_hash
from confsec.protocol.note_keys import KeyType, Signer
from confsec.protocol.tiles import TileTree
from confsec.roles import log_page
from confsec.roles.log_page import CONTENT_POLICY, PAGE_FILES, page_file, write_page
from tests.roles.browser import Seen, browse, serve
from tests.roles.log_folder import LOG, WITNESSES, FolderLog, make_policy, make_statement
from tests.roles.pictures import read_picture

NOW = datetime.now(UTC)
OTHER = Signer(LOG.key.name, KeyType.ED25519, bytes(range(9, 41)))
NO_ML_DSA = """
const importKey = crypto.subtle.importKey.bind(crypto.subtle);
crypto.subtle.importKey = async (form, key, algorithm, ...rest) => {
  if (algorithm.name.startsWith("ML-DSA")) throw new DOMException("no such algorithm", "NotSupportedError");
  return importKey(form, key, algorithm, ...rest);
};
"""
NO_CRYPTOGRAPHY = 'Object.defineProperty(crypto, "subtle", { value: undefined });'
NO_MEMORY = (
    'Object.defineProperty(window, "localStorage", { get() { throw new DOMException("no", "SecurityError"); } });'
)

Change = Callable[[FolderLog], None]


def statements(size: int) -> list[bytes]:
    """Return entries of three kinds, the same ones each time."""
    kinds = [("directory", "fleet", "release")[at % 3] for at in range(size)]
    return [make_statement(f"{kind}.example/{at}", kind=kind, issued=NOW) for at, kind in enumerate(kinds)]


def make_log(folder: Path, size: int = 30) -> FolderLog:
    log = FolderLog(folder)
    log.append(*statements(size))
    log.publish()
    write_page(folder)
    return log


def look_at(
    tmp_path: Path,
    changes: Mapping[str, Change],
    *,
    hashes: Mapping[str, str] | None = None,
    scripts: Mapping[str, str] | None = None,
    size: int = 30,
) -> dict[str, Seen]:
    """Visit a log for each change that somebody made to it, and return what each page looks like."""
    steps: list[tuple[str, str]] = []
    for number, (name, change) in enumerate(changes.items()):
        change(make_log(tmp_path / f"log{number}", size))
        steps += [("open", f"/log{number}/#{(hashes or {}).get(name, '')}"), ("look", "")]
    with serve(tmp_path) as site:
        site.scripts = {f"/log{number}/": (scripts or {}).get(name, "") for number, name in enumerate(changes)}
        looks = browse(site, tmp_path / "profile", *steps)
    assert [each for seen in looks for each in seen.spied if each.startswith("error")] == []
    return dict(zip(changes, looks, strict=True))


def unchanged(log: FolderLog) -> None:
    return


def statuses(seen: Seen) -> list[str]:
    """Return what became of the five checks: signature, quorum, age, tiles, memory."""
    return re.findall(r'<li class="check ([a-z]+)">', seen.html)


def flip(path: str, at: int = -1) -> Change:
    def change(log: FolderLog) -> None:
        data = bytearray(log.read(path))
        data[at] ^= 1
        log.write(path, bytes(data))

    return change


# --- The files ------------------------------------------------------------------------------------------------------


def test_every_file_of_the_page_is_given_out_and_nothing_else() -> None:
    folder = Path(str(log_page.__file__)).parent
    assert set(PAGE_FILES) == {path.name for path in folder.iterdir() if path.suffix not in {".py", ""}}
    types = {"css": "text/css", "html": "text/html", "js": "text/javascript"}
    for name in PAGE_FILES:
        found = page_file(name)
        assert found is not None
        assert found == (f"{types[name.split('.')[1]]}; charset=utf-8", (folder / name).read_bytes())
    assert [page_file(name) for name in ("__init__.py", "", "../log.py", "page/log.js", "LOG.JS")] == [None] * 5


def test_page_names_no_place_but_its_own_and_holds_no_program() -> None:
    found = page_file("index.html")
    assert found is not None
    text = found[1].decode()
    assert f'<meta http-equiv="Content-Security-Policy" content="{CONTENT_POLICY}">' in text
    assert re.findall(r'(?:src|href)="([^"]*)"', text) == ["page/style.css", "page/log.js", "#main"]
    assert re.findall(r"<script[^>]*>([^<]*)</script>", text) == [""]
    assert not re.search(r"<style| style=| on[a-z]+=|javascript:", text)


@pytest.mark.parametrize("name", [name for name in PAGE_FILES if name.endswith(".js")])
def test_modules_have_no_way_to_turn_text_into_markup_or_programs(name: str) -> None:
    found = page_file(name)
    assert found is not None
    text = found[1].decode()
    sinks = (
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|Function\(|setTimeout\([\"'`]|\.style\b|srcdoc"
    )
    assert re.findall(sinks, text) == []
    addresses = {"https://in-toto.io/Statement/v1", "http://www.w3.org/2000/svg"}
    assert set(re.findall(r'"(https?://[^"]*)"', text)) <= addresses
    assert set(re.findall(r'from "([^"]*)"', text)) <= {f"./{each}" for each in PAGE_FILES}
    assert max(map(len, text.splitlines())) <= 200


def test_page_is_written_beside_a_log_and_again_over_itself(tmp_path: Path) -> None:
    write_page(tmp_path)
    (tmp_path / "index.html").write_text("older")
    write_page(tmp_path)
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {"index.html", *(f"page/{name}" for name in PAGE_FILES if name != "index.html")}
    assert page_file("index.html") == ("text/html; charset=utf-8", (tmp_path / "index.html").read_bytes())


# --- A good log -----------------------------------------------------------------------------------------------------


def test_a_good_log_is_verified_and_its_entries_are_shown(tmp_path: Path) -> None:
    log = make_log(tmp_path / "log", 300)
    with serve(tmp_path) as site:
        first, older, narrow = browse(
            site, tmp_path / "profile", ("open", "/log/#"), ("look", ""), ("click", "Older"),
            ("until", "Page 2 of 15"), ("look", ""), ("width", "340"), ("open", "/log/#entry=7"), ("look", ""),
        )  # fmt: skip
    assert (first.verdict, first.title, first.spied) == ("good", "Verified: log.example/one", [])
    assert statuses(first) == ["pass", "pass", "pass", "pass", "info"]
    for part in (
        "Verified", "300 entries", log.checkpoint().root.hex(), LOG.key.encode(), "3 good signatures",
        "2 of north, south, later", "ML-DSA-44 cosignature", "Page 1 of 15",
    ):  # fmt: skip
        assert part in first.text
    assert re.findall(r'href="#entry=(\d+)"', first.html) == [str(at) for at in range(299, 279, -1)]
    assert first.html.count(">in the tree</span>") == 20
    assert re.findall(r'href="#entry=(\d+)"', older.html) == [str(at) for at in range(279, 259, -1)]
    assert (narrow.wide, narrow.spied) == (0, [])
    assert [seen.focus for seen in (first, older, narrow)] == ["", "entries-title", "entry-title"]
    inside = {path for path in site.asked if path.startswith("/log/")}
    assert not [path for path in inside if not (tmp_path / path[1:]).exists()]


def test_the_page_works_at_the_root_of_a_server_and_as_it_was_written(tmp_path: Path) -> None:
    make_log(tmp_path)
    with serve(tmp_path) as site:
        site.spies = False
        (seen,) = browse(site, tmp_path / "profile", ("open", "/#"), ("look", ""))
    assert (seen.verdict, statuses(seen)[:4]) == ("good", ["pass"] * 4)


def test_the_browser_computes_the_proofs_that_python_computes(tmp_path: Path) -> None:
    log = make_log(tmp_path / "log", 300)
    indices = (0, 7, 255, 256, 299)
    steps = [step for index in indices for step in (("hash", f"#entry={index}"), ("look", ""))]
    with serve(tmp_path) as site:
        looks = browse(site, tmp_path / "profile", ("open", "/log/#"), *steps)
    checkpoint = log.checkpoint()
    tree = TileTree(checkpoint.size, checkpoint.root, log.tiles)
    for index, seen in zip(indices, looks, strict=True):
        (ladder,) = re.findall(r'<ol class="card ladder">(.*?)</ol>', seen.html, re.DOTALL)
        hashes = re.findall(r'<code class="hash">([0-9a-f]{64})</code>', ladder)
        path = (leaf_hash(log.entries[index]), *tree.inclusion_proof(index), checkpoint.root)
        assert hashes == [each.hex() for each in path]
        computed = re.findall(r'<code class="hash computed">([0-9a-f]{64})</code>', ladder)
        assert computed[-1] == checkpoint.root.hex()
        assert f"Entry {index} is in the tree" in seen.text
        assert "the same" in seen.text


def test_a_statement_is_shown_with_what_it_is_about_and_who_says_it(tmp_path: Path) -> None:
    log = make_log(tmp_path / "log")
    entry = make_statement(
        "model/7b", kind="model-weights", issued=NOW - timedelta(days=3), until=NOW - timedelta(days=1)
    )
    log.append(entry)
    log.publish()
    with serve(tmp_path) as site:
        listed, shown = browse(
            site, tmp_path / "profile", ("open", "/log/#"), ("look", ""), ("hash", "#entry=30"), ("look", "")
        )
    assert "model weights" in listed.text
    assert "ended" in listed.text
    for part in (
        "https://confsec.dev/statement/model-weights/v1", "model/7b", f"sha256:{sha256(b'model/7b').hexdigest()}",
        "(3 days ago)", "(1 day ago)", "Not checked here.",
    ):  # fmt: skip
        assert part in shown.text
    assert '"source": "https://code.example/model-weights"' in shown.html


def test_other_entries_are_shown_as_text_or_hex(tmp_path: Path) -> None:
    log = make_log(tmp_path / "log")
    log.append(b"two\nlines", b"\x00\xfe")
    log.publish()
    with serve(tmp_path) as site:
        text, data, beyond = browse(
            site, tmp_path / "profile", ("open", "/log/#entry=30"), ("look", ""), ("hash", "#entry=31"), ("look", ""),
            ("hash", "#entry=32"), ("look", ""),
        )  # fmt: skip
    assert "two\nlines" in text.text
    assert "00fe" in data.text
    assert "The tree has 32 entries and not this one" in beyond.text


def test_an_empty_log_is_one(tmp_path: Path) -> None:
    seen = look_at(tmp_path, {"": unchanged}, size=0)[""]
    assert seen.verdict == "good"
    assert "The log is empty." in seen.text


# --- A bad log --------------------------------------------------------------------------------------------------------


def test_a_wrong_tile_makes_the_proof_fail_in_red(tmp_path: Path) -> None:
    seen = look_at(tmp_path, {"": flip("tile/0/000.p/30")}, hashes={"": "entry=3"})[""]
    assert (seen.verdict, statuses(seen)) == ("bad", ["pass", "pass", "pass", "fail", "info"])
    assert '<div class="card verdict bad"><svg' in seen.html
    assert "Entry 3 is not proved" in seen.text
    assert "its proof leads to another root" in seen.text
    assert '<li class="fail"><span class="label">The root that comes out' in seen.html
    assert "not the same" in seen.text
    assert "fleet.example" not in seen.text


def test_a_wrong_tile_beside_entries_makes_their_row_refused(tmp_path: Path) -> None:
    seen = look_at(tmp_path, {"": flip("tile/1/000.p/1")}, size=300)[""]
    assert seen.verdict == "bad"
    assert "Entries 280 to 299 are not shown" in seen.text
    assert "in the tree" not in seen.text.partition("What this page shows")[0]


def test_a_changed_entry_is_not_shown(tmp_path: Path) -> None:
    flip("tile/entries/000.p/30")(make_log(tmp_path / "log"))
    with serve(tmp_path) as site:
        listed, shown = browse(
            site, tmp_path / "profile", ("open", "/log/#"), ("look", ""), ("hash", "#entry=29"), ("look", "")
        )
    says = "Entries 10 to 29 are not shown. These entries, or the tiles beside them, lead to another root"
    assert says in listed.text
    assert 'href="#entry=' not in listed.html
    assert "Entry 29 is not proved" in shown.text
    assert "release.example" not in shown.text


def resize(log: FolderLog) -> None:
    log.write("checkpoint", log.read("checkpoint").replace(b"\n30\n", b"\n29\n"))


def test_what_is_wrong_with_a_log_is_said_in_red(tmp_path: Path) -> None:
    tile = "tile/0/000.p/30"
    changes: dict[str, Change] = {
        "The signature is wrong": resize,
        "This is no signed note": lambda log: log.write("checkpoint", b"no checkpoint"),
        "checkpoint is longer than 262144 bytes": lambda log: log.write("checkpoint", bytes(262_145)),
        "The log serves no checkpoint": lambda log: (log.folder / "checkpoint").unlink(),
        "Line 1 of the list of witnesses": lambda log: log.write("witnesses", b"quorum\n"),
        "There is no signature by the log's key": lambda log: log.publish(log=OTHER),
        "1 good signature: too few": lambda log: log.publish(cosigners=["north"]),
        "from the future: not counted": lambda log: log.publish(age=timedelta(minutes=-9)),
        f"{tile} is longer than 8192 bytes": lambda log: log.write(tile, bytes(9000)),
        f"{tile} has another size": lambda log: log.write(tile, bytes(64)),
        f"{tile} is missing": lambda log: (log.folder / tile).unlink(),
        "Nothing was checked: browsers give cryptography only to pages that come by https": unchanged,
    }
    for says, seen in look_at(tmp_path, changes, scripts={list(changes)[-1]: NO_CRYPTOGRAPHY}).items():
        assert (says, seen.verdict) == (says, "bad")
        assert "Refused" in seen.text
        assert says in seen.text


def test_what_cannot_be_checked_counts_for_nothing(tmp_path: Path) -> None:
    undecided, forgetful = "1 signature not checked in this browser would decide", "This browser keeps nothing"
    changes: dict[str, Change] = {
        "The log serves no list of keys": lambda log: (log.folder / "witnesses").unlink(),
        "The log asks no witness": lambda log: log.publish(policy=make_policy(quorum="")),
        "2 days ago, or later. The log stands still": lambda log: log.publish(age=timedelta(days=2)),
        undecided: lambda log: log.publish(policy=make_policy(threshold=3)),
        forgetful: unchanged,
    }
    for says, seen in look_at(tmp_path, changes, scripts={undecided: NO_ML_DSA, forgetful: NO_MEMORY}).items():
        assert (says, seen.verdict) == (says, "warn")
        assert "Verified in part" in seen.text
        assert says in seen.text


def test_a_browser_without_ml_dsa_says_which_signature_it_does_not_check(tmp_path: Path) -> None:
    seen = look_at(tmp_path, {"": unchanged}, scripts={"": NO_ML_DSA})[""]
    assert seen.verdict == "good"
    assert "not checked in this browser" in seen.text
    assert "2 good signatures" in seen.text


# --- What the browser remembers -------------------------------------------------------------------------------------


def grow(log: FolderLog) -> None:
    log.append(*(make_statement(f"new.example/{at}", issued=NOW) for at in range(5)))
    log.publish()


def shrink(log: FolderLog) -> None:
    """Show the first entries only, as a log that takes entries back."""
    smaller = FolderLog(log.folder)
    smaller.append(*log.entries[:-3])
    smaller.publish()


def fork(log: FolderLog) -> None:
    other = FolderLog(log.folder)
    other.append(*log.entries[:-1], b"another")
    other.publish()


def fork_and_grow(log: FolderLog) -> None:
    other = FolderLog(log.folder)
    other.append(b"another", *log.entries[1:], b"and more")
    other.publish()


def test_a_log_that_grows_is_shown_to_begin_with_what_was_seen(tmp_path: Path) -> None:
    log = make_log(tmp_path / "log")
    visit = (("open", "/log/#"), ("look", ""))
    with serve(tmp_path) as site:
        site.acts = {"grow": lambda: grow(log)}
        first, same, grown = browse(site, tmp_path / "profile", *visit, *visit, ("act", "grow"), *visit)
    assert statuses(first)[4] == "info"
    assert (same.verdict, statuses(same)[4]) == ("good", "pass")
    assert "It is the tree that was seen before." in same.text
    assert (grown.verdict, statuses(grown)[4]) == ("good", "pass")
    assert "From 30 to 35 entries" in grown.text


def test_a_log_that_does_not_keep_what_it_showed_raises_a_loud_alarm(tmp_path: Path) -> None:
    changes: dict[str, Change] = {
        "The log went back": shrink,
        "The log was forked": fork,
        "The log does not continue": fork_and_grow,
        "The log has another key": lambda log: log.publish(log=OTHER, policy=make_policy(log=OTHER)),
    }
    steps: list[tuple[str, str]] = []
    with serve(tmp_path) as site:
        for number, change in enumerate(changes.values()):
            site.acts[f"{number}"] = partial(change, make_log(tmp_path / f"log{number}"))
            visit = ("open", f"/log{number}/#")
            steps += [visit, ("act", f"{number}"), visit, ("look", ""), visit, ("look", "")]
        looks = browse(site, tmp_path / "profile", *steps)
    for number, title in enumerate(changes):
        for seen in looks[2 * number : 2 * number + 2]:  # nothing of it is remembered: it is as loud the next time
            assert (title, seen.verdict, statuses(seen)) == (title, "bad", [*["pass"] * 4, "fail"])
            assert seen.text.index(title) < seen.text.index("Refused")
            assert "The checkpoint that this browser saw before" in seen.html
            assert ">in the tree</span>" not in seen.html


def test_a_wrong_tile_is_refused_and_no_reason_to_accuse_the_log(tmp_path: Path) -> None:
    log = make_log(tmp_path / "log")

    def grow_and_damage() -> None:
        grow(log)
        flip("tile/0/000.p/35")(log)

    with serve(tmp_path) as site:
        site.acts = {"grow": grow_and_damage}
        visit = ("open", "/log/#")
        (seen,) = browse(site, tmp_path / "profile", visit, ("act", "grow"), visit, ("look", ""))
    assert (seen.verdict, statuses(seen)) == ("bad", ["pass", "pass", "pass", "fail", "fail"])
    assert '<div id="alarm" role="alert"></div>' in seen.html


def test_forgetting_a_log_begins_again(tmp_path: Path) -> None:
    log = make_log(tmp_path / "log")
    with serve(tmp_path) as site:
        site.acts = {"fork": lambda: fork_and_grow(log)}
        lied, forgotten = browse(
            site, tmp_path / "profile", ("open", "/log/#"), ("act", "fork"), ("open", "/log/#"), ("look", ""),
            ("click", "Forget this log in this browser"), ("until", "sees this log for the first time"), ("ready", ""),
            ("look", ""),
        )  # fmt: skip
    assert (lied.verdict, forgotten.verdict) == ("bad", "good")


def test_other_witnesses_are_remembered_only_when_the_visitor_says_so(tmp_path: Path) -> None:
    fewer = make_policy(witnesses={name: WITNESSES[name] for name in ("north", "south")})
    log = make_log(tmp_path / "log")
    with serve(tmp_path) as site:
        site.acts = {"fewer": lambda: log.write("witnesses", fewer.encode())}
        warned, accepted = browse(
            site, tmp_path / "profile", ("open", "/log/#"), ("act", "fewer"), ("open", "/log/#"), ("look", ""),
            ("click", "I compared them: remember the new witnesses"), ("until", "It is the tree that was seen before"),
            ("ready", ""), ("look", ""),
        )  # fmt: skip
    assert (warned.verdict, statuses(warned)[4]) == ("warn", "warn")
    assert "the log now names other witnesses" in warned.text
    assert (accepted.verdict, statuses(accepted)[4]) == ("good", "pass")


# --- What an attacker writes ----------------------------------------------------------------------------------------

HOSTILE = '</pre><script>window.ran=parent.ran=1</script><img src=x onerror="window.ran=parent.ran=1">'


def test_what_entries_and_checkpoints_say_never_runs(tmp_path: Path) -> None:
    log = make_log(tmp_path / "log")
    log.append(
        HOSTILE.encode(),
        make_statement(f"{HOSTILE}{'x' * 300}", kind="release", issued=NOW),
        make_statement("plain", kind=HOSTILE, issued=NOW),
        "turned \u202e around".encode(),
    )
    log.publish()
    steps = [("open", "/log/#"), ("look", "")]
    for index in range(30, 34):
        steps += [("hash", f"#entry={index}"), ("look", "")]
    steps += [("hash", "#search=%3Cimg%20src=x%20onerror=parent.ran=1%3E"), ("look", "")]
    with serve(tmp_path) as site:
        looks = browse(site, tmp_path / "profile", *steps)
    for seen in looks:
        assert (seen.ran, seen.spied, seen.wide) == (False, [], 0)
        assert not re.search(r"<script|<img|<iframe|\u202e", seen.html)
    assert HOSTILE in looks[1].text
    assert HOSTILE in looks[2].text
    assert "turned \\u202e around" in looks[4].text


def test_addresses_that_lead_nowhere_lead_to_the_entries(tmp_path: Path) -> None:
    make_log(tmp_path / "log")
    places = ("entry=99999999999999999999", "entry=-1", "page=999999999999", "page=0", "search=%", "x=1")
    steps = [step for place in places for step in (("hash", f"#{place}"), ("look", ""))]
    with serve(tmp_path) as site:
        looks = browse(site, tmp_path / "profile", ("open", "/log/#"), *steps)
    pages = [re.findall(r"Page (\d) of 2", seen.text) for seen in looks]
    assert pages == [["1"], ["1"], ["2"], ["1"], ["1"], ["1"]]


# --- Searching ------------------------------------------------------------------------------------------------------


def test_a_search_reads_all_entries_and_finds_names_digests_and_types(tmp_path: Path) -> None:
    digest = sha256(b"fleet.example/7").hexdigest()
    make_log(tmp_path / "log", 300)
    with serve(tmp_path) as site:
        by_name, by_digest, by_type, nothing = browse(
            site, tmp_path / "profile", ("open", "/log/#"), ("type", "Directory.example/12"), ("click", "Search"),
            ("until", "hits in 300 entries"), ("ready", ""), ("look", ""),
            ("hash", f"#search={digest}"), ("look", ""), ("hash", "#search=statement/fleet"), ("look", ""),
            ("hash", "#search=nowhere"), ("look", ""),
        )  # fmt: skip
    assert re.findall(r'href="#entry=(\d+)"', by_name.html) == ["129", "126", "123", "120", "12"]
    assert "5 hits in 300 entries." in by_name.text
    assert re.findall(r'href="#entry=(\d+)"', by_digest.html) == ["7"]
    assert len(re.findall(r'href="#entry=(\d+)"', by_type.html)) == 100
    assert "0 hits in 300 entries." in nothing.text


def test_a_search_says_what_it_could_not_verify(tmp_path: Path) -> None:
    seen = look_at(tmp_path, {"": flip("tile/entries/000")}, hashes={"": "search=example"}, size=300)[""]
    assert "Entries 0 to 255 are not shown" in seen.text
    assert "Not complete: 1 bundle of entries could not be verified" in seen.text
    assert len(re.findall(r'href="#entry=(\d+)"', seen.html)) == 44


def test_a_search_can_be_stopped(tmp_path: Path) -> None:
    make_log(tmp_path / "log", 300)
    with serve(tmp_path) as site:
        released = threading.Event()
        site.held = {"/log/tile/entries/000": released}
        site.acts = {"release": released.set}
        under_way, stopped = browse(
            site, tmp_path / "profile", ("open", "/log/#"), ("begin", "#search=example"),
            ("until", "44 entries of 300 read"), ("look", ""), ("click", "Stop"), ("act", "release"),
            ("until", "The search was stopped"), ("look", ""),
        )  # fmt: skip
    assert '<progress max="300" value="44"' in under_way.html
    assert "44 hits in 44 entries. Not all 300 entries were read. The search was stopped." in stopped.text
    assert len(re.findall(r'href="#entry=(\d+)"', stopped.html)) == 44


# --- What it looks like -----------------------------------------------------------------------------------------------

COLOURS = {("good", False): "e3f4ea", ("bad", False): "fdeaea", ("good", True): "12301f", ("bad", True): "3a1715"}
"""Of the card of a verdict, in the light and in the dark: as the style sheet has them."""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("verdict", ["good", "bad"])
def test_a_picture_of_the_page_has_the_colours_of_its_verdict(tmp_path: Path, verdict: str, *, dark: bool) -> None:
    log = make_log(tmp_path / "log")
    if verdict == "bad":
        resize(log)
    picture = tmp_path / "page.png"
    options = ["--window-size=640,700", *(["--blink-settings=preferredColorScheme=0"] if dark else [])]
    with serve(tmp_path) as site:
        site.spies = False
        browse(site, tmp_path / "profile", ("open", "/log/#"), picture=picture, options=options)
    width, height, colours = read_picture(picture)
    assert (width, height) == (640, 700)
    card = {key: colours[bytes.fromhex(colour)] / (width * height) for key, colour in COLOURS.items()}
    assert card.pop((verdict, dark)) > 0.1
    assert max(card.values()) < 0.02
    assert len(colours) > 100
