from __future__ import annotations

import base64
import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dynsrv.errors import SourceError
from dynsrv.sources.consul.auth import Auth, Credentials, Secret
from dynsrv.tls import Certificates, Tls

NO_SUCH_FILE = "there is no such file; write it, or correct the path"
A_DIRECTORY = "a directory; name the file in it"
ONE_LINE = "expected one line of printable ASCII; write it again"
NONE = Secret()


def an_access(*, token: Secret = NONE, auth: Secret = NONE, tls: Tls | None = None) -> Auth:
    return Auth(token=token, auth=auth, certificates=Certificates(tls or Tls()))


def the_error_of(access: Auth) -> tuple[str, str]:
    with pytest.raises(SourceError) as caught:
        access.read()
    return caught.value.reason, str(caught.value)


def replace(path: Path, content: str | bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(content.encode() if isinstance(content, str) else content)
    new.rename(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secret"


# ---- tokens and passwords


def test_without_anything_configured_nothing_is_sent_and_certificates_are_checked() -> None:
    assert an_access().read() == Credentials({}, tls=True, server_name=None)


def test_a_token_goes_into_consuls_own_header() -> None:
    assert an_access(token=Secret("hunter2")).read().headers == {"X-Consul-Token": "hunter2"}


def test_user_and_password_go_into_http_basic_authentication() -> None:
    authorization = an_access(auth=Secret("user:pass word:x")).read().headers["Authorization"]
    kind, _, encoded = authorization.partition(" ")
    assert (kind, base64.b64decode(encoded, validate=True)) == ("Basic", b"user:pass word:x")


def test_a_user_may_have_no_password() -> None:
    authorization = an_access(auth=Secret("user")).read().headers["Authorization"]
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"user:"


def test_a_token_and_a_password_go_together(path: Path) -> None:
    path.write_text("user:hunter2")
    headers = an_access(token=Secret("hunter1"), auth=Secret(file=path)).read().headers
    assert headers.keys() == {"X-Consul-Token", "Authorization"}
    assert headers["Authorization"] == f"Basic {base64.b64encode(b'user:hunter2').decode()}"


@pytest.mark.parametrize("content", ["hunter2", "hunter2\n", "  hunter2 \r\n\n"])
def test_space_around_a_token_in_a_file_does_not_matter(path: Path, content: str) -> None:
    path.write_text(content)
    assert an_access(token=Secret(file=path)).read().headers == {"X-Consul-Token": "hunter2"}


def test_a_rotated_token_is_the_one_that_is_sent_from_then_on(path: Path) -> None:
    path.write_text("hunter2")
    access = an_access(token=Secret(file=path))
    assert access.read().headers["X-Consul-Token"] == "hunter2"
    replace(path, "hunter3")
    assert access.read().headers["X-Consul-Token"] == "hunter3"
    path.write_text("hunter4")  # of the same length, in place, perhaps within one tick of the file system's clock
    assert access.read().headers["X-Consul-Token"] == "hunter4"


def test_a_file_that_is_broken_for_a_while_is_an_error_for_that_while(path: Path) -> None:
    path.write_text("hunter2")
    access = an_access(token=Secret(file=path))
    assert access.read().headers == {"X-Consul-Token": "hunter2"}
    path.unlink()
    assert the_error_of(access) == ("token", f"token_file {path}: {NO_SUCH_FILE}")
    path.write_text("")
    assert the_error_of(access) == ("token", f"token_file {path}: {ONE_LINE}")
    path.write_text("hunter3")
    assert access.read().headers == {"X-Consul-Token": "hunter3"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n\n",
        b"hunter2\nhunter3\n",
        b"hunter2\0",
        b"\xff\xfehunter2",
        "hünter2".encode(),
        b"\xef\xbb\xbfhunter2",
        b"hunter2\x1b[31m",
        b"hunter2\tx",
        b"hunter2\rX-Other: 1",
    ],
    ids=repr,
)
def test_a_file_that_has_no_secret_is_an_error_that_does_not_show_what_it_has(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert the_error_of(an_access(token=Secret(file=path))) == ("token", f"token_file {path}: {ONE_LINE}")
    assert the_error_of(an_access(auth=Secret(file=path))) == ("token", f"auth_file {path}: {ONE_LINE}")


def test_a_file_that_cannot_be_read_is_an_error_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert the_error_of(an_access(token=Secret(file=tmp_path))) == ("token", f"token_file {tmp_path}: {A_DIRECTORY}")

    def refused(*_: object, **__: object) -> str:  # the tests may run as root, who may read everything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refused)
    problem = f"the user with id {os.geteuid()} may not read it; give that user the permission"
    assert the_error_of(an_access(token=Secret(file=Path("x")))) == ("token", f"token_file x: {problem}")


# ---- certificates


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two self-signed certificates and their keys, one of these encrypted as well."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("one", "other"):
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "9000"]
        files = ["-keyout", f"{name}.key", "-out", f"{name}.pem"]
        run(folder, "req", "-x509", *new, "-subj", f"/CN={name}", *files)
    run(folder, "ec", "-in", "one.key", "-aes256", "-passout", "pass:x", "-out", "encrypted.key")
    return folder


def run(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


@pytest.fixture
def files(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "tls"))


def the_context_of(access: Auth) -> ssl.SSLContext:
    context = access.read().tls
    assert isinstance(context, ssl.SSLContext)
    return context


def authorities_of(context: ssl.SSLContext) -> list[str]:
    return [dict(pair[0] for pair in one["subject"])["commonName"] for one in context.get_ca_certs()]  # type: ignore[misc]


def test_an_authority_of_ones_own_stands_in_place_of_the_systems(files: Path) -> None:
    context = the_context_of(an_access(tls=Tls(ca_file=files / "one.pem")))
    assert authorities_of(context) == ["one"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_certificate_of_ones_own_comes_with_a_key_in_the_same_file_or_in_another(files: Path) -> None:
    (files / "both.pem").write_text((files / "one.pem").read_text() + (files / "one.key").read_text())
    separate = an_access(tls=Tls(cert_file=files / "one.pem", key_file=files / "one.key"))
    together = an_access(tls=Tls(cert_file=files / "both.pem"))
    for access in (separate, together):
        assert the_context_of(access).verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize("authority", [None, "one.pem"])
def test_a_certificate_need_not_be_good_if_so_configured(files: Path, authority: str | None) -> None:
    access = an_access(tls=Tls(ca_file=files / authority if authority else None, verify=False))
    context = the_context_of(access)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)
    assert the_context_of(access) is context


def test_the_name_in_the_certificate_may_be_configured() -> None:
    assert an_access(tls=Tls(server_name="server.dc1.consul")).read().server_name == "server.dc1.consul"


Change = Callable[[Path], object]


@pytest.mark.parametrize(
    "change",
    [
        lambda path: replace(path, path.read_bytes()),
        lambda path: os.utime(path, (1, 1)),
        lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    ],
    ids=["replaced", "touched", "longer"],
)
@pytest.mark.parametrize("name", ["ca.pem", "one.pem", "one.key"])
def test_connections_are_kept_until_a_file_changes_and_then_made_anew(files: Path, name: str, change: Change) -> None:
    shutil.copy(files / "other.pem", files / "ca.pem")
    access = an_access(tls=Tls(ca_file=files / "ca.pem", cert_file=files / "one.pem", key_file=files / "one.key"))
    before = the_context_of(access)
    assert the_context_of(access) is before
    change(files / name)
    after = the_context_of(access)
    assert after is not before
    assert the_context_of(access) is after


def test_a_rotated_authority_is_the_one_that_is_trusted_from_then_on(files: Path) -> None:
    access = an_access(tls=Tls(ca_file=files / "one.pem"))
    assert authorities_of(the_context_of(access)) == ["one"]
    replace(files / "one.pem", (files / "other.pem").read_bytes())
    assert authorities_of(the_context_of(access)) == ["other"]


def test_a_new_file_in_a_directory_of_authorities_is_seen(tmp_path: Path) -> None:
    access = an_access(tls=Tls(ca_path=tmp_path))
    before = the_context_of(access)
    assert the_context_of(access) is before
    os.utime(tmp_path, (1, 1))  # the mark that a new file leaves
    assert the_context_of(access) is not before


def test_a_pair_that_is_being_rotated_is_an_error_until_both_are_there(files: Path) -> None:
    access = an_access(tls=Tls(cert_file=files / "one.pem", key_file=files / "one.key"))
    before = the_context_of(access)
    replace(files / "one.pem", (files / "other.pem").read_bytes())
    for _ in range(2):
        reason, problem = the_error_of(access)
        assert reason == "tls"
        files_told = f"tls.cert_file {files / 'one.pem'}, key_file {files / 'one.key'}"
        assert (
            problem == f"{files_told}: expected a certificate and its key, not encrypted, in PEM (KEY_VALUES_MISMATCH)"
        )
    replace(files / "one.key", (files / "other.key").read_bytes())
    assert the_context_of(access) is not before


@pytest.mark.parametrize("content", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n", b"\0\xff"], ids=repr)
def test_a_file_without_a_certificate_is_an_error(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for tls, told in ((Tls(ca_file=path), "ca_file"), (Tls(cert_file=path), "cert_file")):
        reason, problem = the_error_of(an_access(tls=tls))
        assert reason == "tls"
        assert problem.startswith(f"tls.{told} {path}")
        assert re.search(": expected (certificates|a certificate and its key, not encrypted,) in PEM [(]", problem)


@pytest.mark.parametrize("key", ["ca_file", "ca_path", "cert_file", "key_file"])
def test_a_file_that_is_not_there_is_an_error_by_the_name_of_its_key(path: Path, key: str) -> None:
    tls = Tls(**{key: path})  # type: ignore[arg-type]
    assert the_error_of(an_access(tls=tls)) == ("tls", f"tls.{key} {path}: {NO_SUCH_FILE}")


def test_a_directory_in_place_of_a_file_is_an_error_with_what_to_do(tmp_path: Path) -> None:
    assert the_error_of(an_access(tls=Tls(ca_file=tmp_path))) == ("tls", f"tls.ca_file {tmp_path}: {A_DIRECTORY}")


def test_an_encrypted_key_is_an_error_and_nobody_is_asked_for_its_passphrase(
    files: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cert, key = files / "one.pem", files / "encrypted.key"
    reason, problem = the_error_of(an_access(tls=Tls(cert_file=cert, key_file=key)))
    assert reason == "tls"
    assert problem.startswith(
        f"tls.cert_file {cert}, key_file {key}: expected a certificate and its key, not encrypted, in PEM ("
    )
    assert "".join(capfd.readouterr()) == ""
