import assert from "node:assert/strict";
import test from "node:test";
import { ConnectionError, getSandbox, SandboxAddon } from "../dist/index.js";

const opened = [];

/** What a terminal's server would say is said by the test. */
class FakeSocket {
  constructor(url) {
    this.url = new URL(url);
    this.readyState = 1;
    this.sent = [];
    this.listeners = {};
    opened.push(this);
  }
  addEventListener(type, listener) {
    this.listeners[type] = listener;
  }
  send(data) {
    this.sent.push(typeof data === "string" ? data : Buffer.from(data).toString("latin1"));
  }
  close() {
    this.drop(1000);
  }
  bytes(text) {
    this.listeners.message({ data: new TextEncoder().encode(text).buffer });
  }
  json(value) {
    this.listeners.message({ data: JSON.stringify(value) });
  }
  drop(code) {
    this.readyState = 3;
    this.listeners.close({ code, reason: "" });
  }
}

const info = { id: "t", status: "running", command: "bash", cols: 80, rows: 24, viewers: 0, startTime: "2026-01-01T00:00:00Z" };
const fetch = async () => new Response(JSON.stringify(info));
const sandbox = getSandbox("s", { url: "http://server", token: "secret", fetch, WebSocket: FakeSocket });
const nextSocket = async (n) => {
  while (opened.length < n) await new Promise((resolve) => setTimeout(resolve, 5));
  return opened[n - 1];
};

test("a later connection shows only what is new", async () => {
  opened.length = 0;
  const shown = [];
  const states = [];
  const terminal = await sandbox.terminal();
  const viewer = terminal.attach({ cols: 90, rows: 20, onData: (data) => shown.push(Buffer.from(data).toString()), onStateChange: (s) => states.push(s) });
  const first = opened[0];
  assert.equal(first.url.href, "ws://server/v1/sandboxes/s/terminals/t/attach?cols=90&rows=20&token=secret");
  first.bytes("replay");
  first.json({ type: "ready", id: "t", readOnly: false, cursor: 1006 });
  await viewer.ready;
  first.bytes(" live");
  assert.equal(viewer.cursor, 1011);
  viewer.resize(100, 30);
  first.drop(1006);
  assert.equal(viewer.write("lost"), false);
  const second = await nextSocket(2);
  assert.equal(second.url.search, "?cols=100&rows=30&cursor=1011&token=secret");
  second.bytes(" new");
  assert.deepEqual(shown, ["replay", " live"]); // where it begins is not known yet
  second.json({ type: "ready", id: "t", readOnly: false, cursor: 1015 });
  assert.deepEqual(shown, ["replay", " live", " new"]);
  assert.equal(viewer.cursor, 1015);
  second.json({ type: "exit", code: 3, signal: "SIGHUP" });
  assert.deepEqual(await viewer.exited, { code: 3, signal: "SIGHUP" });
  second.drop(1000);
  assert.deepEqual(states, ["connecting", "connected", "disconnected", "connecting", "connected", "disconnected"]);
});

test("a first connection that fails is an error, not a loop", async () => {
  opened.length = 0;
  const terminal = await sandbox.terminal();
  const connecting = terminal.connect();
  (await nextSocket(1)).drop(1006);
  await assert.rejects(connecting, ConnectionError);
  assert.equal(opened.length, 1);
});

test("iterating ends when the viewer is closed", async () => {
  opened.length = 0;
  const viewer = (await sandbox.terminal()).attach();
  opened[0].bytes("one");
  opened[0].json({ type: "ready", cursor: 3 });
  const seen = [];
  for await (const piece of viewer) {
    seen.push(Buffer.from(piece).toString());
    viewer.close();
  }
  assert.deepEqual(seen, ["one"]);
  assert.equal(await viewer.exited, undefined);
});

test("the addon takes keys, pasted bytes and sizes", async () => {
  opened.length = 0;
  const terminal = await sandbox.terminal();
  const listeners = {};
  const on = (name) => (listener) => ((listeners[name] = listener), { dispose: () => delete listeners[name] });
  const xterm = { cols: 80, rows: 25, write: () => undefined, onData: on("data"), onBinary: on("binary"), onResize: on("resize") };
  const addon = new SandboxAddon(terminal);
  addon.activate(xterm);
  opened[0].json({ type: "ready", cursor: 0 });
  listeners.data("é");
  listeners.binary("\xff");
  listeners.resize({ cols: 10, rows: 5 });
  assert.deepEqual(opened[0].sent, ["\xc3\xa9", "\xff", '{"type":"resize","cols":10,"rows":5}']);
  addon.dispose();
  assert.deepEqual([listeners, opened[0].readyState], [{}, 3]);
  const looker = new SandboxAddon(terminal, { readOnly: true });
  looker.activate(xterm);
  assert.deepEqual([listeners, opened[1].url.searchParams.get("readOnly"), opened[1].url.searchParams.get("cols")], [{}, "1", null]);
  looker.dispose();
});
