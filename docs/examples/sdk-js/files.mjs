// Files: text, bytes, streams, ranges, trees, search, archives.
import assert from "node:assert/strict";
import { FileExistsError, FileNotFoundError, getSandbox, IsDirectoryError } from "cellbox";

const sandbox = getSandbox("sdk-js-files");

await sandbox.writeFile("notes/today.txt", "first line\n", { parents: true });
await sandbox.writeFile("notes/today.txt", "second line\n", { append: true });
const notes = await sandbox.readFile("/workspace/notes/today.txt");
assert.deepEqual([notes.content, notes.isBinary, notes.mimeType], ["first line\nsecond line\n", false, "text/plain"]);
assert.equal((await sandbox.readFile("notes/today.txt", { offset: 6, length: 4 })).content, "line");

const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
await sandbox.writeFile("all bytes%?#ü.bin", bytes);
const back = await sandbox.readFile("all bytes%?#ü.bin");
assert.deepEqual([back.isBinary, back.encoding, Buffer.from(back.bytes)], [true, "base64", Buffer.from(bytes)]);

// streams of any length, in both directions
async function* blocks() {
  for (let i = 0; i < 64; i++) yield new Uint8Array(1 << 20).fill(i);
}
assert.equal((await sandbox.writeFile("large", blocks())).size, 64 << 20);
let read = 0;
for await (const piece of await sandbox.readFileStream("large")) read += piece.length;
assert.equal(read, 64 << 20);

await sandbox.mkdir("src/deep", { recursive: true });
await sandbox.writeFile("src/deep/main.py", "print('needle')\n", { mode: "0755" });
const { files } = await sandbox.listFiles("src", { recursive: true, include: ["*.py"] });
assert.deepEqual(files.map((file) => [file.relativePath, file.type, file.mode]), [["deep/main.py", "file", "0755"]]);
assert.equal((await sandbox.searchFiles("needle")).matches[0].line, 1);

await sandbox.moveFile("src/deep/main.py", "main.py");
await sandbox.copyFile("src", "copy", { recursive: true });
await sandbox.symlink("main.py", "link");
await sandbox.chmod("main.py", "0600");
assert.deepEqual([(await sandbox.stat("link")).mode, (await sandbox.stat("link", { followSymlinks: false })).target], ["0600", "main.py"]);
assert.equal((await sandbox.exists("src/deep/main.py")).exists, false);

const archive = await sandbox.downloadArchive("notes", { format: "tar.gz" });
await sandbox.uploadArchive("restored", archive, { format: "tar.gz", parents: true });
assert.equal((await sandbox.readFile("restored/today.txt")).content, notes.content);

await assert.rejects(sandbox.readFile("missing"), FileNotFoundError);
await assert.rejects(sandbox.writeFile("main.py", "", { exclusive: true }), FileExistsError);
await assert.rejects(sandbox.readFile("src"), IsDirectoryError);
await sandbox.deleteFile("main.py");
await sandbox.deleteFile("src", { recursive: true });

await sandbox.destroy();
console.log("ok");
