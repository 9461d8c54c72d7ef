import assert from "node:assert/strict";
import test from "node:test";
import { ConnectionError, getSandbox, SandboxGoneError } from "../dist/index.js";

const event = (type, members = {}, id) =>
  `${id === undefined ? "" : `id: ${id}\n`}event: ${type}\ndata: ${JSON.stringify({ type, timestamp: "2026-01-01T00:00:00Z", executionId: "e", ...members })}\n\n`;

/** Answers with one stream after the other; null in a list breaks the connection there. */
function streaming(...streams) {
  const asked = [];
  const fetch = async (url, init) => {
    asked.push([`${init.method} ${new URL(url).pathname}${new URL(url).search}`, init.headers["Last-Event-ID"]]);
    const pieces = streams.shift();
    if (typeof pieces === "number") return new Response('{"error":{"code":"WATCH_EXPIRED","message":"over"}}', { status: pieces });
    const body = new ReadableStream({
      pull(controller) {
        const piece = pieces.shift();
        if (piece === undefined) controller.close();
        else if (piece === null) controller.error(new TypeError("terminated"));
        else controller.enqueue(new TextEncoder().encode(piece));
      },
    });
    return new Response(body, { headers: { "content-type": "text/event-stream" } });
  };
  return { sandbox: getSandbox("s", { url: "http://server", fetch, retry: { delay: 1 } }), asked };
}

test("a run goes on behind the event that arrived last", async () => {
  const { sandbox, asked } = streaming(
    [event("started"), event("stdout", { text: "a" }, 1), event("stdout", { text: "cut off" }, 2).slice(0, 30), null],
    [event("stdout", { text: "b" }, 2)],
    [event("done", { status: "ok", executionCount: 7, timing: { queuedAt: "x" } }, 3)],
  );
  const run = await sandbox.runCode("code");
  assert.deepEqual([run.logs.stdout, run.executionCount, run.id], [["a", "b"], 7, "e"]);
  assert.deepEqual(asked, [["POST /v1/sandboxes/s/run", undefined], ["GET /v1/sandboxes/s/executions/e", "1"], ["GET /v1/sandboxes/s/executions/e", "2"]]);
});

test("a run whose beginning is unknown is not run again", async () => {
  const { sandbox, asked } = streaming([null]);
  await assert.rejects(sandbox.runCode("code"), ConnectionError);
  assert.equal(asked.length, 1);
});

test("a command never gets an end that did not come", async () => {
  const { sandbox } = streaming([event("start", { command: "c" }), event("stdout", { data: "x", encoding: "utf-8" })]);
  await assert.rejects(sandbox.exec("c"), ConnectionError);
  const gone = streaming([event("start", { command: "c" }), event("error", { code: "BOX_GONE", message: "the sandbox ended" })]);
  await assert.rejects(gone.sandbox.exec("c"), SandboxGoneError);
});

test("output over the bound is cut and says so", async () => {
  const end = { exitCode: 0, signal: null, success: true, timedOut: false, truncated: false, durationMs: 1 };
  const { sandbox } = streaming([event("start", { command: "c" }), event("stdout", { data: "abcdef", encoding: "utf-8" }), event("complete", end)]);
  const result = await sandbox.exec("c", { maxOutput: 4 });
  assert.deepEqual([result.stdout, result.truncated], ["abcd", true]);
});

test("a watch goes on, and says where it could not", async () => {
  const { sandbox, asked } = streaming(
    [event("watching", {}, "w:0"), event("create", { path: "/a" }, "w:1")],
    [event("watching", {}, "w:1"), event("create", { path: "/b" }, "w:2"), null],
    410,
    [event("watching", {}, "v:0"), event("stopped", { reason: "deleted" }, "v:1")],
  );
  const seen = [];
  for await (const change of await sandbox.watch("/d")) seen.push([change.type, change.path ?? change.reason]);
  assert.deepEqual(seen, [["create", "/a"], ["create", "/b"], ["resync", "expired"], ["stopped", "deleted"]]);
  assert.deepEqual(asked.map(([, id]) => id), [undefined, "w:1", "w:2", undefined]);
});

test("patterns of waitForLog", async () => {
  const { patternOf } = await import("../dist/pattern.js");
  assert.equal(patternOf(/a\/b\d+\\u/i), "(?i)a/b\\d+\\\\u");
  assert.equal(patternOf(/\u00e9\u{1F600}[\u0041]/gu), "\\x{00e9}\\x{1F600}[\\x{0041}]");
});
