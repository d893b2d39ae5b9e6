"""Object stores by their URL, and pages of them as ranges of keys."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from aexp.errors import BadInput
from aexp.scenarios.objects.census import take_census
from aexp.scenarios.objects.stores import normal_url, open_store
from tests.support.folders import make_folder


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("memory:", "memory:"),
        ("memory://", "memory:"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a b%/", "s3://bucket/a b%"),
        ("file:///a%20b/", "file:///a%20b"),
        ("/a b/50%", "file:///a%20b/50%25"),
    ],
)
def test_a_url_has_one_form(given: str, normal: str) -> None:
    assert normal_url(given) == normal
    assert normal_url(normal) == normal


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize("exclude", [[], ["a", ".hidden"]])
@pytest.mark.asyncio
async def test_pages_are_the_keys_cut_up(tmp_path: Path, size: int, exclude: list[str]) -> None:
    expected = {
        name
        for name in make_folder(tmp_path / "things")
        if not exclude or name.split("/")[0] not in exclude
    }
    store = await open_store((tmp_path / "things").as_uri(), exclude, 10.0)

    with blockbuster_ctx():
        keys = await store.keys()
        bounds = [None, *keys[size - 1 : -1 : size], keys[-1]]
        pages = [
            [entry.key for entry in await store.page(after, str(last))]
            for after, last in itertools.pairwise(bounds)
        ]

    assert keys == sorted(expected)
    assert [key for page in pages for key in page] == keys
    assert {len(page) for page in pages[:-1]} <= {size}


@pytest.mark.asyncio
async def test_a_page_of_a_folder_that_has_gone_is_no_empty_page(tmp_path: Path) -> None:
    make_folder(tmp_path / "things")
    store = await open_store((tmp_path / "things").as_uri(), (), 10.0)
    shutil.rmtree(tmp_path / "things")

    with pytest.raises(BadInput, match="does not exist"):
        await store.page(None, "plain")


@pytest.mark.asyncio
async def test_a_link_out_of_a_folder_is_no_object_of_it(tmp_path: Path) -> None:
    make_folder(tmp_path / "elsewhere", ("secret", "deep/secret"))
    things = tmp_path / "things"
    make_folder(things, ("50%20", "a/b"))
    (things / "a" / "out ü%20#").symlink_to(tmp_path / "elsewhere")
    (things / "secret").symlink_to(tmp_path / "elsewhere" / "secret")
    (things / "through").symlink_to("a/out ü%20#/deep")
    (things / "up").symlink_to("a/../../elsewhere")
    (things / "within").symlink_to(things / "a")
    # Its own name may be a link.
    (tmp_path / "name").symlink_to("things")

    for name in ("things", "name"):
        url = (tmp_path / name).as_uri()
        store = await open_store(url, (), 10.0)
        with blockbuster_ctx():
            keys = await store.keys()
        assert keys == ["50%20", "a/b", "within/b"]
        assert sorted(await take_census({"url": url, "exclude": []})) == keys
