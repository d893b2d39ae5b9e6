"""Stores that ``objects`` cannot list: one line says why, and no run is begun."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import object_store
from tests.support.cli import Cli
from tests.support.object_store import SECRET, environment


def denied(code: str, status: int = 403) -> AbstractContextManager[str]:
    return object_store.serving(lambda path: (status, object_store.error(code)))


UNUSABLE: Mapping[str, tuple[Callable[[], AbstractContextManager[str]], str]] = {
    "no permission": (lambda: denied("AccessDenied"), "s3:ListBucket"),
    "wrong key": (lambda: denied("InvalidAccessKeyId"), "credentials are wrong"),
    "wrong secret": (lambda: denied("SignatureDoesNotMatch"), "credentials are wrong"),
    "expired": (lambda: denied("ExpiredToken", 400), "have expired"),
    "other region": (lambda: denied("PermanentRedirect", 301), "set AWS_REGION"),
    "unwell": (lambda: denied("InternalError", 500), "500"),
    "hangs": (object_store.silence, "no answer within 0.4 s"),
}


def refused(cli: Cli, *arguments: str) -> str:
    """The one line that says why no run was begun."""
    result = cli("run", "objects", "--json", *arguments)
    assert result.code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert SECRET not in result.stderr
    assert cli.query("SELECT count(*) FROM aexp.runs") == [(0,)]
    return result.error


@pytest.mark.parametrize("store", UNUSABLE)
def test_a_store_that_cannot_be_listed_is_bad_input(cli: Cli, store: str) -> None:
    serve, reason = UNUSABLE[store]

    with serve() as endpoint:
        error = refused(
            replace(cli, environment=environment(endpoint)),
            "--set", "url=s3://bucket/prefix", "--set", "deadline_s=0.4",
        )  # fmt: skip

    assert reason in error
    assert "s3://bucket/prefix" in error


def test_an_endpoint_that_refuses_is_bad_input(cli: Cli) -> None:
    at_nobody = replace(cli, environment=environment(object_store.nobody()))

    assert "check AWS_ENDPOINT_URL" in refused(at_nobody, "--set", "url=s3://bucket")


def test_an_endpoint_that_is_no_url_is_bad_input(cli: Cli) -> None:
    nonsense = replace(cli, environment=environment(f"user:{SECRET}@host"))

    assert "AWS_ENDPOINT_URL is no URL" in refused(nonsense, "--set", "url=s3://bucket")


def test_missing_credentials_are_bad_input(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    without = replace(cli, environment={"AWS_METADATA_ENDPOINT": object_store.nobody()})

    error = refused(without, "--set", "url=s3://bucket")

    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in error


def test_an_unknown_bucket_or_prefix_is_bad_input(cli: Cli) -> None:
    with object_store.moto() as s3:
        object_store.put(s3, "known")
        object_store.put(s3, "known/part-0/object")
        there = replace(cli, environment=environment(s3))

        assert "there is no such bucket" in refused(there, "--set", "url=s3://unknown")
        assert "check the prefix" in refused(there, "--set", "url=s3://known/part")


def test_what_is_no_folder_is_bad_input(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "things").mkdir()
    (tmp_path / "things" / "new\nline").write_text("")

    assert "does not exist" in refused(cli, "--set", "url=unknown")
    assert "is no folder" in refused(cli, "--set", "url=file")
    assert "rename it" in refused(cli, "--set", "url=things")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://host/folder", "scheme 'ftp:' is not known"),
        ("s3://", "name the bucket"),
        ("s3:bucket", "name the bucket"),
        ("s3://no such bucket", "cannot be the name of a bucket"),
        ("s3://bucket/a//b", "empty part"),
        ("file://host/folder", "file:///ABSOLUTE/PATH"),
        (f"s3://AKIAEXAMPLE:{SECRET}@bucket", "credentials do not belong in url"),
    ],
)
def test_a_url_that_names_no_store_is_refused(cli: Cli, url: str, reason: str) -> None:
    error = refused(cli, "--set", f"url={url}")

    assert reason in error
    assert "AKIAEXAMPLE" not in error
