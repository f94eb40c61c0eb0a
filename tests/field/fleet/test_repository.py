"""Repositories: what python-tuf's own client makes of them, and who may publish what."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tuf.ngclient import Updater

from edgeopt.core.errors import ConfigError, SignatureError
from edgeopt.core.progress import Observer
from edgeopt.field import founding, keys, repository
from edgeopt.field.parcel import Parcel
from edgeopt.field.reports import Inbox
from edgeopt.field.roots import RoleSpec
from edgeopt.field.serving import server
from edgeopt.field.trust import Trust
from tests.field.fleet.releases import keyring, release, signer
from tests.field.fleet.test_reports import signed


@pytest.fixture
def www(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A repository's folder, and where it is served."""
    folder = tmp_path / "www"
    with server(folder, Inbox(tmp_path / "reports"), Observer()) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.05,))
        thread.start()
        yield folder, f"http://127.0.0.1:{made.server_address[1]}"
        made.shutdown()
        thread.join()


def client(url: str, trust: Path, folder: Path) -> Updater:
    """As any TUF client that was given the first root by hand."""
    folder.mkdir(exist_ok=True)
    (folder / "targets").mkdir(exist_ok=True)
    return Updater(
        str(folder), f"{url}/metadata/", str(folder / "targets"), f"{url}/targets/",
        bootstrap=(trust / "root.pub.json").read_bytes(),
    )  # fmt: skip


def test_a_client_of_tuf_finds_and_fetches_what_is_offered(
    www: tuple[Path, str], trust: Path, tmp_path: Path
) -> None:
    folder, url = www
    package = Parcel.open(release(tmp_path / "1.edgepkg", trust, 1))
    standing = repository.publish(folder, package, [signer(trust)], share=0.05)
    assert (standing.product, standing.counter, standing.share) == ("scale", 1, 0.05)
    updater = client(url, trust, tmp_path / "client")
    updater.refresh()
    for place in package.files:
        info = updater.get_targetinfo(place.path)
        assert info is not None
        fetched = Path(updater.download_target(info, str(tmp_path / "file"))).read_bytes()
        assert fetched == b"".join(package.chunks(place.sha256, 0))


def test_an_update_is_seen_and_nothing_older_is_published(
    www: tuple[Path, str], trust: Path, tmp_path: Path
) -> None:
    folder, url = www
    one, two = (Parcel.open(release(tmp_path / f"{n}.edgepkg", trust, n)) for n in (1, 2))
    repository.publish(folder, one, [signer(trust)])
    client(url, trust, tmp_path / "client").refresh()
    assert repository.publish(folder, two, [signer(trust)]).version == 2
    again = client(url, trust, tmp_path / "client")
    again.refresh()
    info = again.get_targetinfo("variants/host/model.onnx")
    assert info is not None
    assert info.length == next(f.length for f in two.files if f.path == "variants/host/model.onnx")
    with pytest.raises(ConfigError, match="1 is not newer"):
        repository.publish(folder, one, [signer(trust)])
    other = Parcel.open(release(tmp_path / "other.edgepkg", trust, 3, product="other"))
    with pytest.raises(ConfigError, match="offers scale, not other"):
        repository.publish(folder, other, [signer(trust)])


def test_a_share_grows_and_never_shrinks(trust: Path, tmp_path: Path) -> None:
    folder = tmp_path / "www"
    repository.publish(
        folder, Parcel.open(release(tmp_path / "1.edgepkg", trust, 1)), [signer(trust)], share=0.05
    )
    grown = repository.advance(folder, [signer(trust)], 0.5)
    assert (grown.share, grown.version, grown.counter) == (0.5, 2, 1)
    refreshed = repository.advance(folder, [signer(trust)], None, timestamp_days=30)
    assert (refreshed.share, refreshed.version) == (0.5, 3)
    assert refreshed.expires > grown.expires
    with pytest.raises(ConfigError, match="cannot be taken back"):
        repository.advance(folder, [signer(trust)], 0.1)
    assert repository.standing(folder) == refreshed


def test_a_snapshot_does_not_expire_before_its_timestamp(
    www: tuple[Path, str], trust: Path, tmp_path: Path
) -> None:
    folder, url = www
    parcel = Parcel.open(release(tmp_path / "1.edgepkg", trust, 1))
    repository.publish(folder, parcel, [signer(trust)], snapshot_days=1)
    assert not (folder / "metadata" / "2.snapshot.json").exists()
    repository.advance(folder, [signer(trust)], None, timestamp_days=14)
    assert (folder / "metadata" / "2.snapshot.json").exists()
    client(url, trust, tmp_path / "client").refresh()


def test_whoever_has_no_key_of_the_roles_publishes_nothing(trust: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    keyring(theirs)
    package = Parcel.open(release(tmp_path / "1.edgepkg", trust, 1))
    with pytest.raises(SignatureError, match="0 of the 1 keys that the role snapshot needs"):
        repository.publish(tmp_path / "www", package, [signer(theirs)])
    assert not (tmp_path / "www").exists()


def test_a_package_of_other_roots_is_not_published_over_ours(trust: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    keyring(theirs)
    folder = tmp_path / "www"
    repository.publish(folder, Parcel.open(release(tmp_path / "1.edgepkg", trust, 1)), [signer(trust)])
    package = Parcel.open(release(tmp_path / "2.edgepkg", theirs, 2))
    with pytest.raises(SignatureError):
        repository.publish(folder, package, [signer(theirs)])
    standing = repository.standing(folder)
    assert standing is not None
    assert standing.counter == 1


def test_a_threshold_of_the_timestamp_is_kept(trust: Path, tmp_path: Path) -> None:
    folder = tmp_path / "serious"
    founding.create(folder, [RoleSpec("timestamp", 2, 2)])
    (folder / "targets-1.key").rename(folder / "edgeopt.key")  # what `release` signs with
    package = Parcel.open(release(tmp_path / "1.edgepkg", folder, 1))
    both = [keys.load(folder / f"timestamp-{number}.key") for number in (1, 2)]
    with pytest.raises(SignatureError, match="1 of the 2 keys"):
        repository.publish(tmp_path / "www", package, both[:1])
    assert repository.publish(tmp_path / "www", package, both).counter == 1
    assert Trust.open(folder).root.roles["timestamp"].threshold == 2


def test_through_the_command_line(run, trust: Path, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    package, key = release(tmp_path / "1.edgepkg", trust, 1), trust / "edgeopt.key"
    words = ("--key", key, "--json")
    assert run("repository", "show", "www", "--json").document["offered"] is None
    published = run("repository", "publish", "www", package, "--trust", trust, "--share", "5%", *words)
    assert published.code == 0, published.err
    assert published.document["offered"]["share"] == 0.05
    assert "feedback" in run("repository", "advance", "www", "--share", "50%", "--key", key).err
    early = run("repository", "advance", "www", "--share", "50%", "--reports", "reports", *words)
    assert (early.code, early.document["advanced"]) == (7, False)
    inbox = Inbox(Path("reports"))
    inbox.accept(signed(Ed25519PrivateKey.generate(), product="scale", counter=1, outcome="rolled-back"))
    failed = run("repository", "advance", "www", "--share", "50%", "--reports", "reports", *words)
    assert (failed.code, failed.document["reported"]["good"]) == (7, 0)
    for number in range(9):
        name = f"{number:032x}"
        inbox.accept(signed(Ed25519PrivateKey.generate(), device_id=name, product="scale", counter=1))
    grown = run("repository", "advance", "www", "--share", "50%", "--reports", "reports", *words)
    assert (grown.code, grown.document["offered"]["share"]) == (0, 0.5), grown.err
    blind = run("repository", "advance", "www", "--share", "100%", "--no-feedback", "--key", key)
    assert blind.code == 0
    assert "no feedback" in blind.out
    assert run("repository", "refresh", "www", "--expires", "30d", *words).code == 0
