// Terminals: bytes both ways, size, several viewers, coming back, xterm.js.
import assert from "node:assert/strict";
import { getSandbox, SandboxAddon } from "cellbox";
import { WebSocket } from "ws"; // browsers and Node 22 have one of their own

const sandbox = getSandbox("sdk-js-terminals", { WebSocket });
const terminal = await sandbox.terminal({ id: "main", cols: 100, rows: 30 });

const viewer = await terminal.connect();
let shown = "";
const decoder = new TextDecoder();
const reader = viewer[Symbol.asyncIterator]();
async function until(text) {
  while (!shown.includes(text)) {
    const { done, value } = await reader.next();
    assert.ok(!done, shown);
    shown += decoder.decode(value, { stream: true });
  }
}
viewer.write("stty size; echo set-$((1 + 1))\n");
await until("set-2");
assert.match(shown, /30 100/);
viewer.resize(132, 50);
viewer.write("stty size\n");
await until("50 132");

// somebody else looks, and sees what was shown before
const watched = [];
const second = await terminal.connect({ readOnly: true, onData: (data) => watched.push(Buffer.from(data)), onError: (m) => console.log(m) });
assert.match(Buffer.concat(watched).toString(), /set-2/);
assert.equal((await terminal.getInfo()).viewers, 2);
second.close();

// the same terminal by its id; only what is new, thanks to the cursor
const cursor = viewer.cursor;
viewer.close();
const again = await (await sandbox.terminal({ id: "main" })).connect({ cursor });
again.write("sleep 600\n");
const decoded = new TextDecoder();
let fresh = "";
for await (const piece of again) {
  fresh += decoded.decode(piece, { stream: true });
  if (fresh.includes("sleep 600")) break;
}
assert.doesNotMatch(fresh, /set-2/);
while (!(await sandbox.exec("pgrep -x sleep")).success);
again.sendSignal("SIGINT");

// xterm.js takes the addon with loadAddon(); here something with xterm's interface stands in for it
const listeners = {};
const on = (name) => (listener) => ((listeners[name] = listener), { dispose: () => delete listeners[name] });
const xterm = { cols: 90, rows: 20, text: "", write(data) { this.text += Buffer.from(data).toString(); }, onData: on("data"), onBinary: on("binary"), onResize: on("resize") };
const exits = [];
const addon = new SandboxAddon(terminal, { onExit: (exit) => exits.push(exit) });
addon.activate(xterm);
await addon.connection.ready;
listeners.data("stty size; exit 7\n");
assert.deepEqual(await addon.connection.exited, { code: 7 });
assert.deepEqual(exits, [{ code: 7 }]);
assert.match(xterm.text, /20 90/);
addon.dispose();
assert.deepEqual(listeners, {});

await terminal.delete();
assert.deepEqual(await sandbox.listTerminals(), []);
await sandbox.destroy();
console.log("ok");
