// Sessions: persistent shells with their own directory, variables, functions and jobs.
import assert from "node:assert/strict";
import { getSandbox, SessionNotFoundError } from "cellbox";

const sandbox = getSandbox("sdk-js-sessions");
const session = await sandbox.createSession({ id: "build", env: { MODE: "debug" } });

await session.exec("cd /tmp; greet() { echo \"hello $1 in $MODE\"; }");
assert.equal((await session.exec("pwd; greet you")).stdout, "/tmp\nhello you in debug\n");

// what is stuck is cancelled, and the shell lives on
assert.equal((await session.exec("sleep 600", { timeout: 300 })).timedOut, true);
assert.equal((await session.exec("greet again")).stdout, "hello again in debug\n");

const left = await session.exec("exit 3");
assert.deepEqual([left.exitCode, left.sessionEnded], [3, true]);
assert.equal((await session.exec("echo fresh")).sessionRestarted, true);

for await (const event of session.execStream("echo streamed")) if (event.type === "stdout") console.log(event.data.trim());

// another session shares the files, not the shell
const other = await sandbox.createSession();
assert.equal((await other.exec("pwd")).stdout, "/workspace\n");
assert.deepEqual((await sandbox.listSessions()).map((one) => one.id).sort(), ["build", other.id].sort());

await session.delete();
await assert.rejects(sandbox.getSession("build").exec("true"), SessionNotFoundError);

await sandbox.destroy();
console.log("ok");
