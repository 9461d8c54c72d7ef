// Run by test_sdk_stdin.py: input that is a stream.
import assert from "node:assert/strict";
import { getSandbox } from "cellbox";

const sandbox = getSandbox(process.argv[2]);
const text = (s) => new TextEncoder().encode(s);

// answers of the command before all of its input is there
let next;
async function* talk() {
  for (let i = 0; i < 5; i++) {
    yield text(`${i}\n`);
    await new Promise((resolve) => (next = resolve));
  }
}
const heard = [];
const onOutput = (_, data) => {
  heard.push(data);
  next();
};
const echo = await sandbox.exec("while read -r n; do echo got $n; done", { stdin: talk(), onOutput });
assert.deepEqual([echo.exitCode, heard], [0, [0, 1, 2, 3, 4].map((i) => `got ${i}\n`)]);

async function* large() {
  for (let i = 0; i < 64; i++) yield new Uint8Array(1 << 20);
}
assert.equal((await sandbox.exec("wc -c", { stdin: large() })).stdout.trim(), String(64 << 20));
assert.equal((await sandbox.exec("wc -c", { stdin: new Blob([text("abc")]) })).stdout.trim(), "3");

// it does not want all of it
assert.deepEqual((await sandbox.exec("head -c 3; exit 5", { stdin: large() })).exitCode, 5);
async function* never() {
  yield text("x");
  await new Promise(() => {});
}
assert.equal((await sandbox.exec("head -c 1", { stdin: never() })).stdout, "x");

// a source that fails ends the command
async function* broken() {
  yield text("x");
  throw new RangeError("no more");
}
await assert.rejects(sandbox.exec("echo $$ > pid; cat; sleep 600", { stdin: broken() }));
const gone = "for i in $(seq 100); do kill -0 $(cat pid) 2>&- || exit 0; sleep 0.1; done; exit 1";
assert.ok((await sandbox.exec(gone)).success);
const aborted = sandbox.exec("cat", { stdin: never(), signal: AbortSignal.timeout(500) });
await assert.rejects(aborted, { name: "TimeoutError" });
for await (const event of sandbox.execStream("cat", { stdin: large() })) if (event.type === "stdout") break;
console.log("ok");
process.exit(0); // never() never ends
