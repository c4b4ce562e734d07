from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dynsrv.errors import ConfigFileError
from dynsrv.persist.rendered_file import Look, RenderedFile
from tests.fakes.builders import a_server, an_endpoint
from tests.unit.persist.seeing import seen

ONE, TWO = an_endpoint(1), an_endpoint(2)
MARKED = "backend be_app\n    # dynsrv begin\n    # dynsrv end\n"
JUST_ONE = {"be_app": [seen(a_server(ONE), wanted=[ONE])]}
BOTH = {"be_app": [seen(a_server(ONE), a_server(TWO), wanted=[ONE, TWO])]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "haproxy.cfg"
    path.write_text(MARKED)
    return path


def servers_in(path: Path) -> list[str]:
    return [line.split()[1] for line in path.read_text().splitlines() if " server " in line]


def rename_over(path: Path, content: str) -> None:
    other = path.with_suffix(".other")
    other.write_text(content)
    other.rename(path)


def test_it_is_written_where_it_differs_and_left_alone_where_it_does_not(path: Path) -> None:
    file = RenderedFile(path)
    assert file.write(JUST_ONE).differs
    assert servers_in(path) == ["dyn-10.0.0.1:80"]
    inode = path.stat().st_ino
    assert not file.write(JUST_ONE).differs
    assert path.stat().st_ino == inode


def test_a_dry_rendering_only_finds_out_whether_it_differs(path: Path) -> None:
    file = RenderedFile(path)
    assert file.render(JUST_ONE, dry=True).differs
    assert path.read_text() == MARKED
    assert file.render(JUST_ONE, dry=False).differs
    assert not file.render(JUST_ONE, dry=True).differs


def test_a_template_is_only_read_and_its_changes_are_followed(tmp_path: Path, path: Path) -> None:
    template = path.rename(tmp_path / "haproxy.cfg.in")
    file = RenderedFile(path, template=template)
    file.write(JUST_ONE)
    assert servers_in(path) == ["dyn-10.0.0.1:80"]
    assert template.read_text() == MARKED
    assert file.look() is Look.SAME
    rename_over(template, f"# new\n{MARKED}")
    assert file.look() is Look.CHANGED
    file.write(JUST_ONE)
    assert path.read_text().startswith("# new\n")
    assert servers_in(path) == ["dyn-10.0.0.1:80"]


@pytest.mark.parametrize("with_template", [False, True])
def test_a_file_that_is_missing_is_an_error(tmp_path: Path, *, with_template: bool) -> None:
    template = tmp_path / "haproxy.cfg.in" if with_template else None
    with pytest.raises(ConfigFileError, match="there is no such file") as caught:
        RenderedFile(tmp_path / "haproxy.cfg", template=template).write(JUST_ONE)
    assert caught.value.reason == "missing"
    assert caught.value.path == str(template or tmp_path / "haproxy.cfg")


def test_a_backend_without_marks_is_a_problem_of_the_file_that_should_have_them(tmp_path: Path, path: Path) -> None:
    written = RenderedFile(path).write({"be_none": [seen()]})
    assert str(written.problems["be_none"]).startswith(f"{path}: it has no section")
    template = path.rename(tmp_path / "haproxy.cfg.in")
    written = RenderedFile(path, template=template).write({"be_none": [seen()]})
    assert str(written.problems["be_none"]).startswith(f"{template}: it has no section")


# what somebody else does


def test_a_file_that_somebody_else_replaces_has_changed_at_once(path: Path) -> None:
    file = RenderedFile(path)
    file.write(JUST_ONE)
    assert file.look() is Look.SAME
    rename_over(path, f"# theirs\n{MARKED}")
    assert file.look() is Look.CHANGED
    assert file.look() is Look.CHANGED
    file.write(JUST_ONE)
    assert file.look() is Look.SAME
    assert servers_in(path) == ["dyn-10.0.0.1:80"]
    assert path.read_text().startswith("# theirs\n")


def test_a_file_that_is_written_in_place_may_be_half_written_until_it_is_the_same_at_two_looks(path: Path) -> None:
    file = RenderedFile(path)
    file.write(JUST_ONE)
    for size in (3, 10, 20):
        path.write_text(f"{MARKED}{'#' * size}")
        assert file.look() is Look.CHANGING
    assert file.look() is Look.CHANGED


def test_a_file_that_is_written_in_place_without_an_end_is_not_waited_for_without_an_end(path: Path) -> None:
    file = RenderedFile(path)
    file.write(JUST_ONE)
    looks = []
    for size in range(30):
        path.write_text(f"{MARKED}{'#' * size}\n")
        looks.append(file.look())
    assert looks[:10] == [Look.CHANGING] * 10
    assert Look.CHANGED in looks[10:12]


# validation

REFUSES_TWO = "import sys; text = open(sys.argv[1]).read(); print('line 3:', 'no'); sys.exit(text.count('server ') > 1)"


def test_a_new_file_takes_the_old_ones_place_only_if_the_command_accepts_it(path: Path) -> None:
    file = RenderedFile(path, validate=[sys.executable, "-c", REFUSES_TWO, "{path}"])
    file.write(JUST_ONE)
    with pytest.raises(ConfigFileError, match="line 3: no") as caught:
        file.write(BOTH)
    assert caught.value.reason == "validation"
    assert servers_in(path) == ["dyn-10.0.0.1:80"]
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_command_that_is_not_there_accepts_nothing(path: Path) -> None:
    file = RenderedFile(path, validate=["/nonexistent/haproxy", "{path}"])
    with pytest.raises(ConfigFileError, match="/nonexistent/haproxy cannot be run: No such file or directory"):
        file.write(JUST_ONE)
    assert path.read_text() == MARKED


def test_a_command_that_says_nothing_is_reported_with_its_exit_code(path: Path) -> None:
    file = RenderedFile(path, validate=[sys.executable, "-c", "raise SystemExit(7)"])
    with pytest.raises(ConfigFileError, match="exit code 7"):
        file.write(JUST_ONE)
