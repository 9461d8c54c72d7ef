import assert from "node:assert/strict";
import test from "node:test";
import { ConnectionError, getSandbox, LimitError, SandboxNotFoundError, UnavailableError } from "../dist/index.js";

/** A sandbox whose server answers with what the list says, and what was asked. */
function scripted(answers, options = {}) {
  const asked = [];
  const fetch = async (url, init) => {
    asked.push(`${init.method} ${new URL(url).pathname}`);
    const answer = answers.shift();
    if (answer instanceof Error) throw answer;
    const [status, body, headers] = answer;
    return new Response(status === 204 ? null : typeof body === "string" ? body : JSON.stringify(body ?? {}), { status, headers });
  };
  return { sandbox: getSandbox("s", { url: "http://server", token: "t", fetch, retry: { delay: 1 }, ...options }), asked, answers };
}

const error = (status, code) => [status, { error: { code, message: code } }];
const context = { id: "c", createdAt: "2026-01-01T00:00:00Z", lastUsedAt: "2026-01-01T00:00:00Z" };
const reset = () => Object.assign(new TypeError("fetch failed"), { cause: Object.assign(new Error("reset"), { code: "ECONNRESET" }) });
const refusal = () => Object.assign(new TypeError("fetch failed"), { cause: Object.assign(new Error("refused"), { code: "ECONNREFUSED" }) });

test("reading is repeated after 429, 503 and a broken connection", async () => {
  const { sandbox, asked } = scripted([error(503, "BOX_GONE"), error(429, "QUEUE_FULL"), reset(), [200, { contexts: [context] }]]);
  assert.equal((await sandbox.listCodeContexts())[0].id, "c");
  assert.equal(asked.length, 4);
});

test("what does work is not repeated when it may have begun", async () => {
  for (const answer of [error(503, "BOX_GONE"), error(500, "COMMAND_FAILED"), reset()]) {
    const { sandbox, asked } = scripted([answer]);
    await assert.rejects(sandbox.createCodeContext());
    assert.deepEqual(asked, ["POST /v1/sandboxes/s/contexts"]);
  }
});

test("it is repeated where nothing can have begun", async () => {
  const { sandbox, asked } = scripted([error(429, "TOO_MANY_CONTEXTS"), error(503, "STARTING"), refusal(), [201, context]]);
  assert.equal((await sandbox.createCodeContext()).id, "c");
  assert.equal(asked.length, 4);
});

test("it gives up", async () => {
  const { sandbox, asked } = scripted(Array.from({ length: 9 }, () => error(429, "QUEUE_FULL")), { retry: { delay: 1, retries: 2 } });
  await assert.rejects(sandbox.listCodeContexts(), LimitError);
  assert.equal(asked.length, 3);
});

test("a sandbox that is not there is made, once for all callers", async () => {
  const missing = () => error(404, "SANDBOX_NOT_FOUND");
  const made = [201, { name: "s", createdAt: "2026-01-01T00:00:00Z", lastUsedAt: "2026-01-01T00:00:00Z" }];
  const { sandbox, asked } = scripted([missing(), made, [200, { contexts: [] }]]);
  await sandbox.listCodeContexts();
  assert.deepEqual(asked, ["GET /v1/sandboxes/s/contexts", "PUT /v1/sandboxes/s", "GET /v1/sandboxes/s/contexts"]);
  const again = scripted([missing(), made, missing()]);
  await assert.rejects(again.sandbox.listCodeContexts(), SandboxNotFoundError); // and not for ever
});

test("a stream is sent once", async () => {
  const { sandbox, asked } = scripted([error(429, "TOO_MANY_OPERATIONS")]);
  await assert.rejects(sandbox.writeFile("f", new Blob(["x"]).stream()), LimitError);
  assert.equal(asked.length, 1);
});

test("an abort ends the pause between attempts", async () => {
  const { sandbox } = scripted([error(429, "X"), error(429, "X")], { retry: { delay: 100_000, maxDelay: 100_000 } });
  const controller = new AbortController();
  const reading = sandbox.readFile("f", { signal: controller.signal });
  setTimeout(() => controller.abort(), 10);
  await assert.rejects(reading, { name: "AbortError" });
});

test("answers that are not the server's own are errors, too", async () => {
  const options = { retry: { retries: 0 } };
  await assert.rejects(scripted([[502, "<html>bad gateway"]], options).sandbox.info(), (e) => e instanceof UnavailableError && e.code === "HTTP_502");
  await assert.rejects(scripted([[200, "{not json"]], options).sandbox.info(), ConnectionError);
  await assert.rejects(scripted([[404, '{"error":"text"}']], options).sandbox.info(), { status: 404, code: "HTTP_404" });
});

test("a signal for every call", async () => {
  const controller = new AbortController();
  const own = new AbortController();
  const hanging = (url, init) => new Promise((_, reject) => init.signal.addEventListener("abort", () => reject(init.signal.reason)));
  const sandbox = getSandbox("s", { url: "http://server", fetch: hanging }).withSignal(controller.signal);
  const calls = [sandbox.stat("f"), sandbox.listProcesses(), sandbox.readFile("f", { signal: own.signal }), sandbox.runCode("1"), sandbox.watch()];
  const one = sandbox.readFile("g", { signal: own.signal });
  own.abort(new Error("own"));
  await assert.rejects(one, /own/);
  controller.abort(new Error("all"));
  const ends = await Promise.allSettled(calls);
  assert.deepEqual(ends.map((end) => end.reason.message), ["all", "all", "own", "all", "all"]);
});
