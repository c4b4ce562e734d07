"""What tools/images.py decides: what an image is made of, and when it is made anew."""

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import images
from tools.debian import FetchError
from tools.images import Image


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system with a program, a link to it, and nothing else."""
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/dash").write_text("a shell")
    (tmp_path / "usr/bin/sh").symlink_to("dash")
    (tmp_path / "bin").symlink_to("usr/bin")
    return tmp_path


def an_image(root: Path, *, dockerfile: str = "FROM scratch", **texts: str) -> Image:
    return Image("test", dockerfile, files={"root": root}, texts=texts)


def test_the_context_has_the_files_as_they_are_and_the_dockerfile_with_what_they_are(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("context") / "context.tar"
    image = an_image(root, passwd="root:x:0:0::/:\n")
    with tarfile.open(path, "w") as context:
        image.write(context)
    with tarfile.open(path) as context:
        files = ["root", "root/bin", "root/usr", "root/usr/bin", "root/usr/bin/dash", "root/usr/bin/sh"]
        assert context.getnames() == [*files, "passwd", "Dockerfile"]
        assert context.getmember("root/bin").linkname == "usr/bin"
        dockerfile = context.extractfile("Dockerfile")
        assert dockerfile is not None
        assert dockerfile.read().decode() == f"FROM scratch\nLABEL dynsrv.test.made-of={image.made_of()}\n"


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


def test_what_is_there_already_is_not_made_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = an_image(root)
    made: list[object] = []
    monkeypatch.setattr(images, "docker_build", lambda *arguments, context: made.append(arguments))
    monkeypatch.setattr(images, "run", lambda *_: f"{image.made_of()}\n")
    image.make()
    assert made == []
    monkeypatch.setattr(images, "run", lambda *_: "something else\n")
    image.make()

    def no_such_image(*_: str) -> str:
        raise FetchError

    monkeypatch.setattr(images, "run", no_such_image)
    image.make()
    assert made == [("-t", "test", "-")] * 2


def test_the_environment_may_name_other_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DYNSRV_TEST_HAPROXY_IMAGE", raising=False)
    assert images.haproxy_image("3.2") == "dynsrv-test/haproxy:3.2"
    monkeypatch.setenv("DYNSRV_TEST_HAPROXY_IMAGE", "haproxy:{}-alpine")
    assert images.haproxy_image("3.2") == "haproxy:3.2-alpine"
