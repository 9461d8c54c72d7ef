// Watch: changes of files as they happen.
import assert from "node:assert/strict";
import { getSandbox } from "cellbox";

const sandbox = getSandbox("sdk-js-watch");
const watcher = await sandbox.watch("/workspace", { exclude: ["*.tmp"] }); // established now: nothing later is missed

await sandbox.exec("echo 1 > a; echo 2 > x.tmp; mv a b; rm b; touch end");
const seen = [];
for await (const event of watcher) {
  seen.push(event);
  if (event.path === "/workspace/end") break; // leaving the loop ends the watch
}
console.log(seen.map((event) => `${event.type} ${event.path}`).join("\n"));
const renamed = seen.find((event) => event.type === "rename");
assert.deepEqual([renamed.oldPath, renamed.path], ["/workspace/a", "/workspace/b"]);
assert.ok(!seen.some((event) => event.path.endsWith(".tmp")));

// a later watch can go on where this one was
await sandbox.exec("touch meanwhile");
const later = await sandbox.watch("/workspace", { since: watcher.cursor });
for await (const event of later) if (event.path === "/workspace/meanwhile") break;

// closed from elsewhere: the loop ends
const quiet = await sandbox.watch();
setTimeout(() => quiet.close(), 100);
for await (const event of quiet) assert.fail(event.type);

await sandbox.destroy();
console.log("ok");
