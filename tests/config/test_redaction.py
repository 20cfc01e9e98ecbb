"""No secret of a URI is in what genae prints or stores."""

import pytest

from genae_core.config.redaction import hide_places, redact, redact_uri, redact_values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://me:s3cr3t@host:5000/x", "http://me:***@host:5000/x"),
        ("http://:s3cr3t@host", "http://:***@host"),
        ("http://me@host/x", "http://me@host/x"),
        ("/tmp/http:/me:s3cr3t@host/x", "/tmp/http:/me:***@host/x"),
        ("s3://KEY:s3/cr+3t=@bucket/x", "s3://KEY:***@bucket/x"),
        ("http://me:s3@cr3t@host", "http://me:***@host"),
        ("http://me:s3#c?r:3t@host", "http://me:***@host"),
        ("http://me:s3cr3t@[::1]:5000/", "http://me:***@[::1]:5000/"),
        ("postgresql+psycopg://u:s3cr3t@h/db", "postgresql+psycopg://u:***@h/db"),
        ("postgresql://h/db?user=u&password=s3cr3t", "postgresql://h/db?user=u&password=***"),
        ("mysql://h/db?passwd=s3cr3t&charset=utf8", "mysql://h/db?passwd=***&charset=utf8"),
        (
            "https://h/x?X-Amz-Signature=s3cr3t&X-Amz-Date=1",
            "https://h/x?X-Amz-Signature=***&X-Amz-Date=1",
        ),
        ("s3://b/x?secret_access_key=s3cr3t#y", "s3://b/x?secret_access_key=***#y"),
        ("from http://a:s3cr3t@h to s3://k:s3cr3t@b", "from http://a:***@h to s3://k:***@b"),
        ("http://host:5000/path and me@mail", "http://host:5000/path and me@mail"),
        ("http://[::1]:5000/x", "http://[::1]:5000/x"),
        ("/data/a:b@c", "/data/a:b@c"),
    ],
)
def test_a_secret_in_a_uri_is_hidden(text: str, expected: str) -> None:
    assert redact(text) == expected
    assert redact(expected) == expected  # a second time changes nothing


def test_a_password_with_spaces_is_hidden_where_the_text_is_one_uri() -> None:
    assert redact_uri("http://me:s3 cr3t\t!@host/x") == "http://me:***@host/x"


def test_values_are_redacted_at_any_depth() -> None:
    values = {"root": "s3://k:s3cr3t@b", "cells": [{"n": 1, "uri": "http://u:s3cr3t@h"}, None]}
    assert redact_values(values) == {
        "root": "s3://k:***@b",
        "cells": [{"n": 1, "uri": "http://u:***@h"}, None],
    }


@pytest.mark.parametrize(
    "text",
    [
        *("/home/jane", "/data/x y/z", "~", "~jane", "~/x", "./x", "../x", "C:\\x"),
        *("file:/x", "file:///x", "s3://b/x", "http://me:***@h/x", "sqlite:////x/y.db"),
        *("cache=/home/jane, n=3", "from '/home/jane'", "read /home/jane/x"),
    ],
)
def test_a_text_that_names_a_place_is_hidden(text: str) -> None:
    assert hide_places({"a": [{"b": text}, 1]}) == ({"a": [{"b": "***"}, 1]}, ["a.0.b"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "encode_decode",
        "encode/decode",
        "1/2",
        "a / b",
        "prior.normal",
        "ratio: 3",
        "x~y",
        "[1, 2]",
    ],
)
def test_other_texts_stay(text: str) -> None:
    values = {"a": text, "b": [None, True, 1.5]}
    assert hide_places(values) == (values, [])


def test_fields_that_name_a_place_are_hidden_whatever_they_hold() -> None:
    values = {"data": {"root": "images"}, "model": {"finished": None, "root": True}}
    values["net"] = {"checkpoint": "net.pt"}
    hidden = {"data": {"root": "***"}, "model": {"finished": None, "root": True}}
    hidden["net"] = {"checkpoint": "***"}
    assert hide_places(values) == (hidden, ["data.root", "net.checkpoint"])
