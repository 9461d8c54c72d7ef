// Run by test_sdk_faults.py: streams of the JavaScript client while the gateway is killed under them. Says "kill" when
// everything stands, and waits for a line on standard input after that was done.
import assert from "node:assert/strict";
import { once } from "node:events";
import { CellboxError, getSandbox } from "cellbox";
import { WebSocket } from "ws";

const sandbox = getSandbox("faults-js", { WebSocket, retry: { retries: 8 } });
await sandbox.exec("mkfifo gate");
const resumed = once(process.stdin, "data");

const steps = {};
const stands = (name) => new Promise((resolve) => (steps[name] = resolve));
const all = Promise.all(["run", "logs", "watch", "terminal", "command"].map(stands));

const run = sandbox.runCode("print('before', flush=True)\nopen('gate').read()\nprint('after'); 6 * 7", { onStdout: () => steps.run() });

const logger = await sandbox.startProcess("echo one; while [ ! -e go ]; do sleep 0.05; done; echo two; exit 5");
const logs = (async () => {
  const seen = [];
  for await (const event of logger.streamLogs()) {
    seen.push(event.type === "stdout" ? event.data : event.type);
    steps.logs();
  }
  return seen;
})();

const terminal = await sandbox.terminal({ id: "t" });
const shown = [];
const viewer = await terminal.connect({ onData: (data) => shown.push(Buffer.from(data)) });
viewer.write("echo set-$((1+1))\n");
while (!Buffer.concat(shown).includes("set-2")) await new Promise((resolve) => setTimeout(resolve, 20));
steps.terminal();

const watcher = await sandbox.watch("/workspace", { exclude: ["go"] });
const watch = (async () => {
  for await (const event of watcher) {
    if (event.type === "create" && event.path.endsWith("first")) steps.watch();
    if (event.type === "resync" || event.path?.endsWith("last")) return event.type;
  }
})();
await sandbox.exec("touch first");

const command = sandbox.exec("echo up; sleep 4700", { onOutput: () => steps.command() });
command.catch(() => undefined);

await all;
console.log("kill");
await resumed;

await assert.rejects(command, CellboxError); // it belonged to its request: no end is made up
await sandbox.exec("touch go; touch last; echo > gate");
const execution = await run;
assert.deepEqual([execution.logs.stdout.join(""), execution.text], ["before\nafter\n", "42"]);
assert.deepEqual(await logs, ["one\n", "two\n", "exit"]);
console.log("watch:", await watch);
viewer.write("") || (await terminal.getInfo());
while (!viewer.write("exit 7\n")) await new Promise((resolve) => setTimeout(resolve, 50));
assert.deepEqual(await viewer.exited, { code: 7 });
assert.equal(Buffer.concat(shown).toString().split("set-2").length, 2); // shown once, although it was connected twice
console.log("ok");
process.exit(0);
