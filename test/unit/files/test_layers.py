"""Layers, whatever is in them, stay in their folder and within their bounds."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.files.errors import FetchError, Kind
from inference_server.files.limits import Limits
from inference_server.files.oci.root import Root


def apply(
    folder: Path, *layers: bytes, only: str = "data", limits: Limits | None = None, is_gzip: bool = False
) -> Root:
    root = Root(folder=folder, only=(only,) if only else (), limits=limits or Limits(), subject="image")
    with tempfile.TemporaryDirectory() as place:
        for layer in layers:
            Path(place, "layer").write_bytes(layer)
            root.apply(Path(place, "layer"), is_gzip=is_gzip)
    root.finish()
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    (tmp_path / "secret").write_text("mine")
    return tmp_path / "root"


def refused(folder: Path, *layers: bytes, **options) -> Kind:
    with pytest.raises(FetchError) as caught:
        apply(folder, *layers, **options)
    assert (folder.parent / "secret").read_text() == "mine"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["root", "secret"]
    return caught.value.kind


def device(kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type = kind
    return info


def test_paths_that_lead_out_are_refused(folder, archive):
    for name in ("/etc/passwd", "../secret", "data/../../secret", "data/x/../../../secret", "x/" * 100):
        assert refused(folder, archive([(name, b"theirs")])) is Kind.UNSAFE


def test_devices_and_pipes_are_refused(folder, archive):
    for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE):
        assert refused(folder, archive([("data/x", device(kind))])) is Kind.UNSAFE


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret", "../../secret", "a/../../../secret", "nowhere", "."])
def test_links_that_lead_out_or_nowhere_are_refused(folder, archive, linked, target):
    assert refused(folder, archive([("data/x", linked(target))])) is Kind.UNSAFE


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret", "data/none", "etc/passwd", "data", "data/x"])
def test_hard_links_to_what_is_no_file_of_the_folder_are_refused(folder, archive, linked, target):
    entries = [("etc/passwd", b"root"), ("data", None), ("data/x", linked(target, tarfile.LNKTYPE))]
    assert refused(folder, archive(entries)) is Kind.UNSAFE


def test_nothing_is_written_through_a_link(folder, archive, linked):
    for target in ("..", "../..", "sub"):
        entries = [("data/sub", None), ("data/x", linked(target)), ("data/x/secret", b"theirs")]
        assert refused(folder, archive(entries)) is Kind.UNSAFE


def test_a_link_from_a_lower_layer_is_not_followed_either(folder, archive, linked):
    layers = (archive([("data/x", linked(".."))]), archive([("data/x/secret", b"theirs")]))
    assert refused(folder, *layers) is Kind.UNSAFE


def test_a_link_is_not_written_to_but_replaced(folder, archive, linked):
    apply(folder, archive([("data/a", b"1"), ("data/x", linked("a"))]), archive([("data/x", b"2")]))
    assert (folder / "data/a").read_bytes() == b"1"
    assert (folder / "data/x").read_bytes() == b"2"


def test_a_link_to_a_file_beside_it_becomes_that_file(folder, archive, linked):
    entries = [
        ("data/a", b"1"),
        ("data/x", linked("a")),
        ("data/sub/y", linked("../x")),
        ("data/z", linked("data/a", b"1")),
    ]
    apply(folder, archive(entries))
    for name in ("x", "sub/y", "z"):
        assert (folder / "data" / name).read_bytes() == b"1"
        assert stat.S_ISREG((folder / "data" / name).lstat().st_mode)


def test_a_whiteout_hides_lower_layers_and_never_its_own(folder, archive):
    lower = archive([("data/a", b"1"), ("data/b", b"1"), ("data/dir/c", b"1")])
    upper = archive(
        [("data/a", b"2"), ("data/.wh.a", b""), ("data/.wh.b", b""), ("data/.wh.dir", b""), ("data/dir/d", b"2")]
    )
    apply(folder, lower, upper)
    assert (folder / "data/a").read_bytes() == b"2"
    assert not (folder / "data/b").exists()


def test_the_whiteout_of_everything_empties_it(folder, archive):
    lower = archive([("data/a", b"1")])
    apply(folder, lower, archive([(".wh.data", b"")]))
    assert not (folder / "data").exists()
    apply(folder, lower, archive([(".wh..wh..opq", b"")]))
    assert not (folder / "data").exists()


@pytest.mark.parametrize("name", ["data/.wh.", "data/.wh..", "data/.wh...", "data/.wh.../x", ".wh..."])
def test_whiteouts_without_a_name_hide_nothing_outside(folder, archive, name):
    apply(folder, archive([("data/a", b"1")]), archive([(name, b"")]))
    assert (folder.parent / "secret").exists()
    assert folder.exists()


def test_a_file_takes_the_place_of_a_folder_and_the_other_way(folder, archive):
    apply(folder, archive([("data/a/b", b"1"), ("data/c", b"1")]), archive([("data/a", b"2"), ("data/c/d", b"2")]))
    assert (folder / "data/a").read_bytes() == b"2"
    assert (folder / "data/c/d").read_bytes() == b"2"


def test_archives_that_fill_disks_are_stopped(folder, archive):
    bomb = gzip.compress(archive([("data/zeros", bytes(50 * 2**20))]))
    assert len(bomb) < 100_000
    assert refused(folder, bomb, is_gzip=True) is Kind.TOO_LARGE
    hidden = gzip.compress(archive([("other/zeros", bytes(50 * 2**20))]))
    assert refused(folder, hidden, is_gzip=True) is Kind.TOO_LARGE
    assert refused(folder, archive([("data/a", bytes(10_000))]), limits=Limits(max_bytes=5_000)) is Kind.TOO_LARGE


def test_the_number_of_files_is_bounded_over_all_layers(folder, archive):
    layers = [archive([(f"data/{layer}/{number}", b"") for number in range(5)]) for layer in range(4)]
    assert refused(folder, *layers, limits=Limits(max_files=20)) is Kind.TOO_LARGE


def _with_header(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(min(size, 2**21)) + bytes(1024)


@pytest.mark.parametrize(
    "kind",
    [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.GNUTYPE_SPARSE],
)
def test_headers_that_fill_memory_are_refused(folder, kind):
    assert refused(folder, _with_header(kind, 2**33)) is Kind.CORRUPT


def test_headers_about_headers_without_end_ended_in_a_recursion(folder):
    described = tarfile.TarInfo("x")
    described.type, described.size = tarfile.XHDTYPE, 12
    one = described.tobuf(tarfile.USTAR_FORMAT) + b"11 a=bbbbb\n".ljust(512, b"\0")
    assert refused(folder, one * 3000 + tarfile.TarInfo("data/x").tobuf() + bytes(1024)) is Kind.CORRUPT


def test_global_headers_that_add_up_are_refused(folder):
    text = b"".join(b"%d v%03d=%s\n" % (len(b"1000000 v000=") + 1000, number, b"x" * 999) for number in range(3))
    assert len(text) > 3000
    one = tarfile.TarInfo("g")
    one.type, one.size = tarfile.XGLTYPE, 2**19
    record = b"%d a=" % 2**19
    body = record + b"x" * (2**19 - len(record) - 1) + b"\n"
    assert refused(folder, (one.tobuf(tarfile.GNU_FORMAT) + body) * 3 + bytes(1024)) is Kind.CORRUPT


def test_a_name_longer_than_the_disk_takes_is_said(folder, archive):
    assert refused(folder, archive([("data/" + "x" * 300, b"")])) is Kind.INVALID


def test_a_titled_file_stays_in_its_folder(folder, tmp_path):
    root = Root(folder=folder, only=(), limits=Limits(), subject="artifact")
    content = tmp_path / "content"
    for title in ("../secret", "/etc/x", "", ".", "a/../../secret"):
        content.write_bytes(b"theirs")
        with pytest.raises(FetchError) as caught:
            root.place(title, content)
        assert caught.value.kind is Kind.UNSAFE
    assert (tmp_path / "secret").read_text() == "mine"


NAMES = st.sampled_from(["data", "a", "b", "..", ".", "", ".wh.a", ".wh.b", ".wh..wh..opq", ".wh.", ".wh...", "secret"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join) | st.lists(NAMES, max_size=3).map(
    lambda names: "/".join(["data", *names])
)
KINDS = st.sampled_from(
    [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE]
)
ENTRIES = st.lists(st.tuples(PATHS, KINDS, PATHS, st.binary(max_size=20)), max_size=8)


def raw(entries: list[tuple[str, bytes, str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, kind, target, body in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            info.size = len(body) if kind in {tarfile.REGTYPE, tarfile.CONTTYPE} else 0
            tar.addfile(info, io.BytesIO(body))
    return stream.getvalue()


@given(st.lists(ENTRIES, min_size=1, max_size=3), st.sampled_from(["data", ""]))
def test_whatever_an_archive_says_only_plain_files_in_the_folder_come_of_it(layers, only):
    with tempfile.TemporaryDirectory() as place:
        folder, outside = Path(place, "root"), Path(place, "secret")
        folder.mkdir()
        outside.write_text("mine")
        try:
            apply(folder, *map(raw, layers), only=only)
        except FetchError:
            pass
        else:
            for path in folder.rglob("*"):
                mode = path.lstat().st_mode
                assert stat.S_IMODE(mode) == (0o755 if stat.S_ISDIR(mode) else 0o644)
                assert stat.S_ISDIR(mode) or stat.S_ISREG(mode)
        assert outside.read_text() == "mine"
        assert outside.stat().st_nlink == 1
        assert sorted(path.name for path in Path(place).iterdir()) == ["root", "secret"]


@given(st.binary(max_size=2000), st.booleans())
def test_whatever_bytes_a_layer_has_the_error_is_ours(content, is_gzip):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "root")
        folder.mkdir()
        try:
            apply(folder, content, is_gzip=is_gzip)
        except FetchError as error:
            assert error.kind in {Kind.CORRUPT, Kind.UNSAFE, Kind.TOO_LARGE, Kind.INVALID}  # noqa: PT017


SIMPLE = st.sampled_from(["a", "b", "c"])
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("file"), st.tuples(SIMPLE, SIMPLE), st.binary(min_size=1, max_size=3)),
        st.tuples(st.just("hide"), st.tuples(SIMPLE, SIMPLE), st.just(b"")),
        st.tuples(st.just("hide"), st.tuples(SIMPLE), st.just(b"")),
        st.tuples(st.just("empty"), st.tuples(SIMPLE), st.just(b"")),
    ),
    max_size=6,
)


def overlaid(layers: list[list[tuple[str, tuple[str, ...], bytes]]]) -> dict[str, bytes]:
    """What layers make of each other, said in the simplest way: first hide below, then add."""
    files: dict[tuple[str, ...], bytes] = {}
    for layer in layers:
        for kind, path, _ in layer:
            if kind != "file":
                files = {name: body for name, body in files.items() if name[: len(path)] != path}
        files |= {path: body for kind, path, body in layer if kind == "file"}
    return {"/".join(path): body for path, body in files.items()}


@given(st.lists(CHANGES, max_size=4))
def test_layers_make_what_the_simplest_description_of_them_makes(layers):
    named = {
        "file": "/".join,
        "hide": lambda path: "/".join((*path[:-1], f".wh.{path[-1]}")),
        "empty": lambda path: "/".join((*path, ".wh..wh..opq")),
    }
    archives = [
        raw(
            [(named[kind](path), tarfile.REGTYPE, "", body) for kind, path, body in layer],
        )
        for layer in layers
    ]
    with tempfile.TemporaryDirectory() as place:
        apply(Path(place), *archives, only=())
        found = {str(path.relative_to(place)): path.read_bytes() for path in Path(place).rglob("*") if path.is_file()}
    assert {name.removeprefix("data/"): body for name, body in found.items()} == overlaid(layers)
