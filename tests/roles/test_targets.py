"""Which targets a gateway reaches: paths of many folders, as a log has, and nothing that a server could misread."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from confsec.errors import ConfigError, NotAllowedError
from confsec.protocol.bhttp_decoder import RequestHead
from confsec.roles.targets import Targets, check_allow, check_target

TARGETS = ("logs.example=http://127.0.0.1:1/base/", "router.example=http://router")
ALLOW = ("GET /fleet/**", "GET /v1/evidence/*", "POST /v1/private")


def url_for(path: str, method: str = "GET", allow: tuple[str, ...] = ALLOW) -> str:
    for each in allow:
        check_allow(each)
    for each in TARGETS:
        check_target(each)
    return Targets(TARGETS, allow).url_for(RequestHead(method, "https", "logs.example", path, ()))


@pytest.mark.parametrize(
    "path",
    [
        "/fleet/checkpoint",
        "/fleet/tile/0/000",
        "/fleet/tile/entries/x001/x234/067.p/255",
        "/fleet/proof/17",
        "/fleet/checkpoint?fresh=1",
        "/fleet/" + "/".join(["a"] * 14),
    ],
)
def test_all_folders_below_are_asked(path: str) -> None:
    assert url_for(path) == f"http://127.0.0.1:1/base{path}"


@pytest.mark.parametrize(
    "path",
    [
        "/fleet",
        "/fleet/",
        "/fleet/tile/",
        "/fleet//checkpoint",
        "/fleet/../v1/nodes",
        "/fleet/tile/../../v1/nodes",
        "/fleet/./checkpoint",
        "/fleet/.hidden",
        "/fleet/tile/.p/1",
        "/fleet/%2e%2e/v1/nodes",
        "/fleet/tile%2f0",
        "/fleet/a\\b",
        "/fleet/a;b",
        "/fleet/a\n",
        "/fleet/a b",
        "/fleet/ä",
        "/fleet/*",
        "/fleet/**",
        "/fleet/a/**",
        "/fleets/checkpoint",
        "/other/fleet/checkpoint",
        "//fleet/checkpoint",
        "fleet/checkpoint",
        "",
        "/",
        "/fleet/" + "/".join(["a"] * 15),
        "/fleet/checkpoint?a=\\",
        "/v1/evidence/a/b",
        "/v1/nodes",
    ],
)
def test_nothing_else_is_asked(path: str) -> None:
    with pytest.raises(NotAllowedError):
        url_for(path)


def test_the_method_counts() -> None:
    with pytest.raises(NotAllowedError):
        url_for("/fleet/append", "POST")
    assert url_for("/v1/private", "POST").endswith("/v1/private")


def test_all_of_a_target_may_be_asked() -> None:
    assert url_for("/a/b", allow=("GET /**",)).endswith("/base/a/b")
    for path in ("/", "/a/../b", "//"):
        with pytest.raises(NotAllowedError):
            url_for(path, allow=("GET /**",))


@given(st.text(st.sampled_from("abfletx0/.*%\\?~- é\n"), max_size=20))
def test_what_is_asked_stays_below_what_is_allowed(path: str) -> None:
    try:
        url = url_for("/fleet/" + path)
    except NotAllowedError:
        return
    below = url.removeprefix("http://127.0.0.1:1/base/fleet/").partition("?")[0].split("/")
    assert url.startswith("http://127.0.0.1:1/base/fleet/")
    assert all(part and not part.startswith(".") for part in below)
    assert not set("".join(below)) & set("%\\* \né")


@pytest.mark.parametrize(
    "value", ["GET /a/***", "GET /a**", "GET /**/b", "GET **", "/a/**", "get /a/**", "GET /a/**\n"]
)
def test_stars_stand_at_the_end_of_a_folder(value: str) -> None:
    with pytest.raises(ValueError, match="must be METHOD"):
        check_allow(value)


def test_two_targets_of_one_name_are_refused() -> None:
    for targets in ((), ("a=http://x", "a=http://y")):
        with pytest.raises(ConfigError, match="an authority of its own"):
            Targets(targets, ALLOW)
