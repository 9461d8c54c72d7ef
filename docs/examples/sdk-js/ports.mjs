// Ports: a web server of the box under an address of its own.
import assert from "node:assert/strict";
import { getSandbox } from "cellbox";

const sandbox = getSandbox("sdk-js-ports");
await sandbox.writeFile("index.html", "hello from the box");
const server = await sandbox.startProcess("python3 -m http.server 8300");
await server.waitForPort(8300, { timeout: 30_000 });

const shown = await sandbox.exposePort(8300, { name: "site" });
console.log(shown.url.replace(shown.token, "…"));
const answer = await fetch(`${shown.pathUrl.replace(/\/$/, "")}/index.html`); // no other token is needed
assert.equal(await answer.text(), "hello from the box");
assert.equal((await sandbox.exposePort(8300)).token, shown.token);
assert.deepEqual((await sandbox.listPorts()).map(({ port, name, status }) => [port, name, status]), [[8300, "site", "active"]]);
assert.equal(await sandbox.isPortExposed(8300), true);

const rotated = await sandbox.exposePort(8300, { rotate: true });
assert.notEqual(rotated.token, shown.token);
await sandbox.unexposePort(8300);
assert.equal((await fetch(rotated.pathUrl)).ok, false);
assert.deepEqual(await sandbox.listPorts(), []);

await sandbox.destroy();
console.log("ok");
