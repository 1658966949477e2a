import errno
import os
import stat

import pytest

from surveyflow.errors import LockHeld, OutputError
from surveyflow.files.durable import explained, file_digest, make_folder, named_output, write_new, write_over


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def refuse(monkeypatch, name, code):
    def refusing(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, name, refusing)


def test_the_first_writer_wins(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    assert write_new(path, b"first")
    assert not write_new(path, b"second")
    assert path.read_bytes() == b"first"
    assert names(path.parent) == ["file"]


def test_writing_over_replaces_the_complete_file(tmp_path):
    write_new(tmp_path / "file", b"a longer content")
    write_over(tmp_path / "file", b"short")
    assert (tmp_path / "file").read_bytes() == b"short"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "broken link", "link to a pipe"])
def test_only_an_ordinary_file_is_replaced_where_the_user_names_one(tmp_path, kind):
    path = tmp_path / "page.html"
    make_other_than_a_file(path, kind)
    before = path.lstat()
    with pytest.raises(OutputError, match=r"page\.html is (a folder|not an ordinary file), .+\. Name a"):
        named_output(path)
    assert path.lstat() == before


def test_a_link_that_the_user_names_leads_to_the_file_that_is_replaced(tmp_path):
    (tmp_path / "page.html").write_bytes(b"earlier")
    (tmp_path / "link").symlink_to("page.html")
    write_over(named_output(tmp_path / "link"), b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "page.html").read_bytes() == b"new"
    assert named_output(tmp_path / "another") == tmp_path / "another"


def test_a_name_that_cannot_be_is_explained(tmp_path):
    with pytest.raises(OutputError, match=r"could not be written: File name too long\. Check"):
        named_output(tmp_path / ("x" * 300) / "page.html")


def test_a_device_is_never_removed(tmp_path):
    path = tmp_path / "state.json"
    make_other_than_a_file(path, "device")
    with pytest.raises(OutputError, match=r"state\.json is a device"):
        write_over(path, b"content")
    assert path.is_char_device()
    assert names(tmp_path) == ["state.json"]


def make_other_than_a_file(path, kind):
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        if os.geteuid() != 0:
            pytest.skip("only root makes devices")
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    else:
        path.symlink_to("pipe" if kind == "link to a pipe" else "missing")
        if kind == "link to a pipe":
            os.mkfifo(path.with_name("pipe"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("step", ["open", "write", "fsync", "link", "mkdir"])
def test_a_refusal_at_any_step_is_explained_and_leaves_nothing(tmp_path, monkeypatch, step, code):
    path = tmp_path / "folder" / "file"
    with monkeypatch.context() as patch:
        refuse(patch, step, code)
        with pytest.raises(OutputError, match=r"file could not be written: .+\. \w+"):
            write_new(path, b"content")
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == []
    assert write_new(path, b"content")


def test_a_full_disk_says_what_to_do(tmp_path, monkeypatch):
    refuse(monkeypatch, "write", errno.ENOSPC)
    with pytest.raises(OutputError, match=r"No space left on device\. Free some space and run again"):
        write_new(tmp_path / "file", b"content")


def test_a_file_in_a_folder_s_place_is_explained(tmp_path):
    (tmp_path / "units").write_text("")
    with pytest.raises(OutputError, match="could not be written"):
        write_new(tmp_path / "units" / "ab" / "file", b"content")


def test_a_short_write_is_continued(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    write_new(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_where_links_are_refused_a_rename_that_replaces_nothing_does(tmp_path, monkeypatch, code):
    refuse(monkeypatch, "link", code)
    assert write_new(tmp_path / "file", b"first")
    assert not write_new(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"first"
    assert names(tmp_path) == ["file"]


def test_a_link_that_nfs_made_but_reports_as_taken_counts_as_made(tmp_path, monkeypatch):
    link = os.link

    def repeated(source, target):
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", repeated)
    assert write_new(tmp_path / "file", b"content")


def test_surveyflow_s_own_errors_pass_through_unchanged(tmp_path):
    with pytest.raises(LockHeld, match="by run 7"), explained(tmp_path):
        raise LockHeld("by run 7")


def test_folders_are_made_once(tmp_path):
    for _ in range(2):
        make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_digest_is_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert file_digest(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
