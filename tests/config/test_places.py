"""One place has one spelling, whichever way a user writes it."""

import os
from pathlib import Path

import pytest

from genae_core.config.places import (
    is_same_place,
    locate,
    locate_store,
    split_uri,
    sqlite_path,
    sqlite_uri,
)

# Names that a URI cannot hold as they are, or that a decoder would change.
ODD_NAMES = (
    "a b",
    "a?b",
    "a#b",
    "100%",
    "a%25b",
    "a%20b",
    "ä",
    "a?b=c",
    "a&b;c",
    "a:b",
    "[1]",
    "'\"",
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder and the home of the user."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ODD_NAMES)
def test_every_spelling_of_a_local_place_is_the_same(
    name: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = here / name
    spellings = [
        str(place), f"{place}/", f"{here}//./{name}", f"{here}/x/../{name}", name, f"./{name}/",
        f"~/{name}", place.as_uri(), f"{place.as_uri()}/", place.as_uri().replace("///", "/"),
        place.as_uri().replace("file://", "FILE://localhost"),
    ]  # fmt: skip
    assert {locate(spelling) for spelling in spellings} == {str(place)}
    located = locate(name)
    monkeypatch.chdir("/")
    assert locate(located) == located
    assert is_same_place(located, f"{here.as_uri()}/x/../{place.as_uri().rsplit('/', 1)[1]}")


def test_two_dots_behind_a_link_lead_where_the_system_goes(here: Path) -> None:
    (here / "far" / "inside").mkdir(parents=True)
    (here / "link").symlink_to("far/inside")
    (here / "far" / "x").mkdir()
    assert locate("link/../x") == str(here / "far" / "x")
    assert os.path.samefile("link/../x", locate("link/../x"))
    assert locate("link") == str(here / "link")  # a link alone keeps its name
    assert is_same_place("link", "far/inside") and not is_same_place("link", "far")
    assert is_same_place("s3://b/my photos/", "S3://b/my%20photos")
    assert not is_same_place("s3://b/my photos", "s3://b/my%2520photos")


@pytest.mark.parametrize(
    ("uri", "located"),
    [
        ("s3://b/photos/", "s3://b/photos"),
        ("S3://B/my photos", "s3://B/my photos"),
        ("s3://b", "s3://b"),
        ("s3://b/./a/../c/", "s3://b/c"),
        ("s3://b/../../c", "s3://b/c"),
        ("s3://b/photos/?region=x", "s3://b/photos?region=x"),
        ("s3://b/a%2Fb", "s3://b/a%2Fb"),
        ("gs://b/a?b/c", "gs://b/a?b/c"),
    ],
)
def test_a_uri_is_normalised(uri: str, located: str) -> None:
    assert locate(uri) == located == locate(located)


@pytest.mark.parametrize(
    ("uri", "address", "options"),
    [
        ("s3://b/x?region=y&endpoint_override=http://h:9000", "s3://b/x",
         "?region=y&endpoint_override=http://h:9000"),
        ("s3://b/what?", "s3://b/what?", ""),
        ("s3://b/what?/x?region=y", "s3://b/what?/x", "?region=y"),
        ("s3://b/a?b=c/x", "s3://b/a?b=c/x", ""),
        ("s3://b/a#b", "s3://b/a#b", ""),
    ],
)  # fmt: skip
def test_options_are_only_what_reads_as_options(uri: str, address: str, options: str) -> None:
    assert split_uri(uri) == (address, options)


def test_names_are_joined_before_the_options_and_quoted() -> None:
    uri = split_uri("s3://b/my photos?region=y")
    assert uri.join("a?b#c%20d/ä") == "s3://b/my photos/a%3Fb%23c%2520d/ä?region=y"
    assert uri.quote() == "s3://b/my%20photos?region=y"
    assert (
        split_uri("s3://k:s%2F@b/100%/ä?/[x]").quote() == "s3://k:s%2F@b/100%25/%C3%A4%3F/%5Bx%5D"
    )


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("", "must name a folder or a file"),
        (" \t", "must name a folder or a file"),
        ("~nobody-of-this-name/x", "there is no user nobody-of-this-name"),
        ("file://host/x", "three slashes"),
        ("file://x", "three slashes"),
        ("file:///a%FFb", "must be UTF-8"),
        (os.fsdecode(b"/a\xff"), "must be UTF-8"),
    ],
)
def test_what_names_no_place_is_refused(place: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"--out.*{reason}"):
        locate(place, "--out")


def test_a_working_folder_that_is_gone_is_named(here: Path) -> None:
    (here / "gone").mkdir()
    os.chdir(here / "gone")
    (here / "gone").rmdir()
    with pytest.raises(ValueError, match="the working folder, which no longer exists"):
        locate("x")
    assert locate("/x") == "/x"


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_sqlite_uri_is_read_back_as_the_path(name: str, here: Path) -> None:
    path = here / name / "mlflow.db"
    uri = sqlite_uri(path)
    assert sqlite_path(uri) == path and locate_store(uri) == uri
    assert sqlite_path(f"{uri}?timeout=3") == path
    assert locate_store(f"{uri}?timeout=3") == f"{uri}?timeout=3"


def test_a_store_in_memory_is_refused(here: Path) -> None:
    for uri in ("sqlite:///:memory:", "sqlite+pysqlite:///:memory:?timeout=3"):
        with pytest.raises(ValueError, match="--tracking-uri must name a file"):
            locate_store(uri)
    uri = f"sqlite:///{here}/:memory:"  # what earlier versions made of the first one
    assert locate_store(uri) == uri


def test_an_sqlite_uri_without_special_characters_is_as_it_always_was(here: Path) -> None:
    """Sweeps of earlier versions are resumed with the URI that they have stored."""
    assert sqlite_uri(here / "a b" / "mlflow.db") == f"sqlite:///{here}/a b/mlflow.db"
    for uri in ("sqlite:///x.db", "sqlite:///~/x.db", f"sqlite:///{here}/y/../x.db"):
        assert locate_store(uri) == f"sqlite:///{here}/x.db"
    for uri in ("http://h:5000/", "postgresql://u:p?q@h/db?sslmode=x", "mssql+pyodbc:///?a=b"):
        assert locate_store(uri) == uri
