"""An image is made again by tools/images.py when what it is made of has changed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import images
from tools.images import Image


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system with a program, a link to it, and nothing else."""
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/dash").write_text("a shell")
    (tmp_path / "usr/bin/sh").symlink_to("dash")
    return tmp_path


def an_image(root: Path, *, dockerfile: str = "FROM scratch", **texts: str) -> Image:
    return Image("test", dockerfile, files={"root": root}, texts=texts)


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "usr/bin/dash").write_text("another shell"),
        lambda root: os.utime(root / "usr/bin/dash", (1, 1)),
        lambda root: (root / "etc").mkdir(),
        lambda root: (root / "usr/bin/sh").unlink(),
    ],
    ids=["content", "time", "folder", "removed"],
)
def test_an_image_is_another_when_a_file_is(root: Path, change: Callable[[Path], object]) -> None:
    before = an_image(root).made_of()
    assert an_image(root).made_of() == before
    change(root)
    assert an_image(root).made_of() != before


def test_an_image_is_another_when_its_settings_or_texts_are(root: Path) -> None:
    same = an_image(root, passwd="a")
    different = (an_image(root), an_image(root, passwd="b"), an_image(root, dockerfile="FROM base", passwd="a"))
    assert same.made_of() not in {one.made_of() for one in different}


def test_the_environment_may_name_other_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DYNSRV_TEST_HAPROXY_IMAGE", raising=False)
    assert images.haproxy_image("3.2") == "dynsrv-test/haproxy:3.2"
    monkeypatch.setenv("DYNSRV_TEST_HAPROXY_IMAGE", "haproxy:{}-alpine")
    assert images.haproxy_image("3.2") == "haproxy:3.2-alpine"
