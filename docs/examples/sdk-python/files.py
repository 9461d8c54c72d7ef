"""Files: text, bytes, streams, ranges, trees, search, archives."""

import io
from collections.abc import Iterator

import cellbox


def blocks() -> Iterator[bytes]:
    for i in range(64):
        yield bytes([i]) * (1 << 20)


with cellbox.get_sandbox("sdk-py-files") as sandbox:
    sandbox.write_file("notes/today.txt", "first line\n", parents=True)
    sandbox.write_file("notes/today.txt", "second line\n", append=True)
    notes = sandbox.read_file("/workspace/notes/today.txt")
    assert (notes.content, notes.is_binary, notes.mime_type) == ("first line\nsecond line\n", False, "text/plain")
    assert sandbox.read_file("notes/today.txt", offset=6, length=4).content == "line"

    data = bytes(range(256))
    sandbox.write_file("all bytes%?#ü.bin", data)
    back = sandbox.read_file("all bytes%?#ü.bin")
    assert (back.is_binary, back.encoding, back.bytes) == (True, "base64", data)

    # streams of any length, in both directions
    assert sandbox.write_file("large", blocks()).size == 64 << 20
    assert sum(len(piece) for piece in sandbox.read_file_stream("large")) == 64 << 20
    assert sandbox.write_file("from a file", io.BytesIO(b"\n" * 100_000)).size == 100_000

    sandbox.mkdir("src/deep", recursive=True)
    sandbox.write_file("src/deep/main.py", "print('needle')\n", mode="0755")
    files = sandbox.list_files("src", recursive=True, include=["*.py"]).files
    assert [(f.relative_path, f.type, f.mode) for f in files] == [("deep/main.py", "file", "0755")]
    assert sandbox.search_files("needle").matches[0].line == 1

    sandbox.move_file("src/deep/main.py", "main.py")
    sandbox.copy_file("src", "copy", recursive=True)
    sandbox.symlink("main.py", "link")
    sandbox.chmod("main.py", "0600")
    assert sandbox.stat("link").mode == "0600"
    assert sandbox.stat("link", follow_symlinks=False).target == "main.py"
    assert sandbox.exists("main.py") and not sandbox.exists("src/deep/main.py")

    archive = sandbox.download_archive("notes", format="tar.gz")
    sandbox.upload_archive("restored", archive, format="tar.gz", parents=True)
    assert sandbox.read_file("restored/today.txt").content == notes.content

    try:
        sandbox.read_file("missing")
        raise AssertionError("it is there")
    except FileNotFoundError as error:  # the builtin class, too
        assert isinstance(error, cellbox.CellboxError) and error.code == "FILE_NOT_FOUND"
    try:
        sandbox.write_file("main.py", "", exclusive=True)
        raise AssertionError("it was replaced")
    except FileExistsError:
        pass
    try:
        sandbox.read_file("src")
        raise AssertionError("it is a file")
    except IsADirectoryError:
        pass
    sandbox.delete_file("main.py")
    sandbox.delete_file("src", recursive=True)
    sandbox.destroy()
print("ok")
