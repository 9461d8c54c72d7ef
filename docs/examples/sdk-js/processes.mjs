// Background processes: start, wait for a line, a port, the end; logs; kill.
import assert from "node:assert/strict";
import { getSandbox, ProcessExitedBeforeReadyError, ProcessReadyTimeoutError } from "cellbox";

const sandbox = getSandbox("sdk-js-processes");

const server = await sandbox.startProcess("python3 -u -m http.server 8123", { processId: "web", cwd: "/workspace" });
const { line, match } = await server.waitForLog(/Serving HTTP .* port (\d+)/i, 30_000);
console.log(line, match[1]);
assert.equal((await server.waitForPort(8123, { timeout: 30_000 })).status, 200);
assert.equal((await server.waitForPort(8123, { mode: "tcp" })).port, 8123);
assert.equal(await server.getStatus(), "running");
assert.equal((await sandbox.getProcess("web")).pid, server.pid);
assert.equal(await sandbox.getProcess("nothing"), null);

await assert.rejects(server.waitForLog("never written", { timeout: 200 }), ProcessReadyTimeoutError);
await server.kill();
const end = await server.waitForExit();
console.log("ended by", end.signal ?? end.exitCode);
await assert.rejects(server.waitForPort(8123), ProcessExitedBeforeReadyError);

// logs: with a cursor only what is new, or as they come
const counter = await sandbox.startProcess("for i in 1 2 3; do echo $i; sleep 0.1; done; echo done >&2; exit 5");
const seen = [];
for await (const event of counter.streamLogs()) {
  if (event.type === "stdout") seen.push(event.data);
  if (event.type === "exit") assert.equal(event.exitCode, 5);
}
assert.equal(seen.join(""), "1\n2\n3\n");
const logs = await counter.getLogs();
assert.deepEqual([logs.stdout, logs.stderr], ["1\n2\n3\n", "done\n"]);
assert.equal((await counter.getLogs({ cursor: logs.cursor })).stdout, "");

// restarted until it ends well, at most twice
const flaky = await sandbox.startProcess("echo try; exit 1", { restart: "on-failure", maxRestarts: 2 });
assert.equal((await flaky.waitForExit(30_000)).exitCode, 1);
assert.equal((await flaky.refresh()).info.restarts, 2);

// standard input as it comes: a text, bytes, a stream, an async iterable
const reader = await sandbox.startProcess("while read -r word; do echo got $word; done", { stdin: true });
await reader.writeStdin("one\n");
await reader.waitForLog("got one", 30_000);
await reader.writeStdin(new Blob(["two\n"]).stream());
await reader.closeStdin();
assert.equal((await reader.waitForExit()).exitCode, 0);
assert.equal((await reader.getLogs()).stdout, "got one\ngot two\n");

const states = (await sandbox.listProcesses()).map((one) => one.status).sort();
assert.deepEqual(states, ["completed", "failed", "failed", "killed"]);
assert.equal(await sandbox.cleanupCompletedProcesses(), 4);
await sandbox.startProcess("sleep 600");
assert.equal(await sandbox.killAllProcesses(), 1);

await sandbox.destroy();
console.log("ok");
