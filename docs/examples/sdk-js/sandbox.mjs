// A sandbox's life: made on demand, options, state, the list, the end.
import assert from "node:assert/strict";
import { AuthenticationError, ConnectionError, getSandbox, InvalidRequestError, listSandboxes, SandboxNotFoundError } from "cellbox";

const sandbox = getSandbox("sdk-js-life", { env: { A: "1" }, labels: { team: "red" }, limits: { pids: 200 } });
await assert.rejects(sandbox.info(), SandboxNotFoundError); // nothing was sent yet that needs it

const results = await Promise.all([1, 2, 3].map((i) => sandbox.exec(`echo $A ${i}`))); // makes one sandbox
assert.deepEqual(results.map((result) => result.stdout), ["1 1\n", "1 2\n", "1 3\n"]);

const info = await sandbox.info();
assert.deepEqual([info.state, info.labels, info.limits.pids], ["running", { team: "red" }, 200]);
assert.ok(info.createdAt <= new Date());
await sandbox.setLabels({ team: "blue" });
assert.ok((await listSandboxes()).some((one) => one.name === "sdk-js-life" && one.labels.team === "blue"));

await sandbox.setEnvVars({ B: "2", A: undefined });
assert.equal((await sandbox.exec("echo [$A] $B")).stdout, "[] 2\n");

// asleep it costs nothing, and the next call wakes it
await sandbox.setLimits({ pids: 100 });
await sandbox.exec("echo kept > note");
await sandbox.setSleepAfter(300);
while ((await sandbox.info()).state !== "stopped");
assert.deepEqual([(await sandbox.usage()).memoryBytes, (await sandbox.info()).limits.pids], [0, 100]);
assert.equal((await sandbox.readFile("note")).content, "kept\n");
await sandbox.setKeepAlive(true);
assert.equal((await sandbox.info()).keepAlive, true);

await Promise.all([sandbox.destroy(), sandbox.destroy()]); // two at once are one
await sandbox.destroy(); // and one that is gone is no error
assert.equal((await sandbox.exec("ls")).stdout, ""); // a new one, empty
await sandbox.destroy();

await assert.rejects(getSandbox("No_Name").exec("true"), InvalidRequestError);
await assert.rejects(getSandbox("x", { token: "wrong" }).exec("true"), AuthenticationError);
await assert.rejects(getSandbox("x", { url: "http://127.0.0.1:9", retry: { retries: 0 } }).exec("true"), ConnectionError);
console.log("ok");
