"""Files are whole or not there, whatever happens while they are written."""

import json
import os
import stat

import pytest

from hwkeras.files import FileError, read_json, replacing, write_bytes, write_text


def test_replacing_puts_the_new_file_in_place(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"  # nobody reads half a file meanwhile
        assert temporary.parent == path.parent  # a rename across disks would not be atomic
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["plan.json"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_replacing_leaves_the_old_file_when_the_block_raises(tmp_path, error):
    path = tmp_path / "plan.json"
    path.write_text("old")
    with pytest.raises(type(error)), replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["plan.json"]


def test_replacing_leaves_nothing_when_there_was_nothing(tmp_path):
    with pytest.raises(ValueError, match="no"), replacing(tmp_path / "plan.json") as temporary:
        temporary.write_text("half")
        raise ValueError("no")
    assert os.listdir(tmp_path) == []


def test_replacing_leaves_nothing_when_the_rename_fails(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError), replacing(tmp_path / "taken") as temporary:
        temporary.write_text("new")
    assert os.listdir(tmp_path) == ["taken"]


def test_replacing_leaves_nothing_when_the_block_removed_the_file(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "plan.json") as temporary:
        temporary.unlink()
    assert os.listdir(tmp_path) == []


def test_the_temporary_name_keeps_the_ending_and_is_hidden(tmp_path):
    with replacing(tmp_path / "slim.weights.h5") as temporary:
        assert temporary.name.endswith(".weights.h5")
        assert temporary.name.startswith(".")


def test_replacing_makes_the_folder(tmp_path):
    write_text(tmp_path / "runs" / "one" / "plan.json", "{}")
    assert (tmp_path / "runs" / "one" / "plan.json").read_text() == "{}"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_gets_the_permissions_of_any_new_file(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "a.txt", "text")
        assert os.umask(umask) == umask  # and the mask itself is as it was
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == mode


def test_text_is_utf_8_and_bytes_are_bytes(tmp_path):
    write_text(tmp_path / "a.txt", "Università\n")
    assert (tmp_path / "a.txt").read_bytes() == b"Universit\xc3\xa0\n"
    write_bytes(tmp_path / "a.bin", b"\x00\xff\r\n")
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\xff\r\n"


def test_text_that_cannot_be_encoded_leaves_the_old_file(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.txt", "\ud800")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_read_json(tmp_path):
    write_text(tmp_path / "a.json", json.dumps({"a": [1, 2]}))
    assert read_json(tmp_path / "a.json", "a plan") == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "{path}: no such file; expected a plan"),
        (b"", "{path}: expected a plan, found broken JSON: Expecting value"),
        (b'{"blocks": [1, ', "{path}: expected a plan, found broken JSON: Expecting value"),
        (b"\x89HDF\r\n", "{path}: cannot be read as a plan: 'utf-8' codec can't decode"),
    ],
)
def test_read_json_says_which_file_is_wrong_and_how(tmp_path, content, message):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FileError) as caught:
        read_json(path, "a plan")
    assert str(caught.value).startswith(message.format(path=path))
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_json(tmp_path):
    with pytest.raises(FileError, match="cannot be read as a plan: .*Is a directory"):
        read_json(tmp_path, "a plan")
