// Commands: result, output as it happens, standard input, time limit, cancelling.
import assert from "node:assert/strict";
import { CommandNotFoundError, getSandbox } from "cellbox";

const sandbox = getSandbox("sdk-js-exec"); // CELLBOX_URL and CELLBOX_TOKEN say where

const result = await sandbox.exec("echo out; echo err >&2; exit 3");
assert.deepEqual([result.success, result.exitCode, result.stdout, result.stderr], [false, 3, "out\n", "err\n"]);

// a list is a program with its arguments: nothing is quoted or expanded
assert.equal((await sandbox.exec(["printf", "%s|", "a b", "$HOME"])).stdout, "a b|$HOME|");

const sum = await sandbox.exec("wc -c; echo $WHO; pwd", {
  stdin: new Uint8Array([0, 255, 10]),
  env: { WHO: "me", LEFT_OUT: undefined },
  cwd: "/tmp",
});
assert.equal(sum.stdout, "3\nme\n/tmp\n");

// input that comes, however long: a stream or an async iterable
async function* lines() {
  for (let i = 0; i < 3; i++) yield new TextEncoder().encode(`${i}\n`);
}
assert.equal((await sandbox.exec("while read n; do echo $((n * 2)); done", { stdin: lines() })).stdout, "0\n2\n4\n");

// bytes that are no text stay what they are
assert.deepEqual([...(await sandbox.exec("printf '\\377\\000'")).stdoutBytes], [255, 0]);

const pieces = [];
await sandbox.exec("echo one; sleep 0.2; echo two", { onOutput: (stream, data) => pieces.push([stream, data]) });
assert.deepEqual(pieces, [["stdout", "one\n"], ["stdout", "two\n"]]);

for await (const event of sandbox.execStream("echo streamed; exit 4")) {
  if (event.type === "stdout") console.log("it says", event.data.trim());
  if (event.type === "complete") assert.equal(event.exitCode, 4);
}

// the limit ends everything that the command started
const slow = await sandbox.exec("sleep 600 & sleep 600", { timeout: 300 });
assert.deepEqual([slow.timedOut, slow.exitCode], [true, 124]);

// and so does an AbortSignal
const controller = new AbortController();
const running = sandbox.exec("echo up; sleep 601", { signal: controller.signal, onOutput: () => controller.abort() });
await assert.rejects(running, { name: "AbortError" });
while (!(await sandbox.exec("! pgrep -x -f 'sleep 601'")).success);

await assert.rejects(sandbox.exec(["no-such-program"]), (error) => error instanceof CommandNotFoundError && error.status === 404);

await sandbox.setEnvVars({ STAGE: "test" });
assert.equal((await sandbox.exec("echo $STAGE")).stdout, "test\n");

await sandbox.destroy();
console.log("ok");
