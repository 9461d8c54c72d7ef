// Code contexts: state that lasts, rich results, output as it happens, errors, interrupt, input, notebooks.
import assert from "node:assert/strict";
import { getSandbox } from "cellbox";

const sandbox = getSandbox("sdk-js-code");

await sandbox.runCode("x = 20");
assert.equal((await sandbox.runCode("x + 1")).text, "21");

const context = await sandbox.createCodeContext({ language: "python", cwd: "/tmp", envVars: { WHO: "me" } });
const where = await sandbox.runCode("import os; print(os.getcwd(), os.environ['WHO']); 'x' in globals()", { context });
assert.deepEqual([where.logs.stdout.join(""), where.text, where.executionCount], ["/tmp me\n", "False", 1]);

const table = await sandbox.runCode("import pandas as pd; pd.DataFrame({'a': [1, 2]})");
assert.match(table.result.html, /<table/);
console.log(table.result.formats());
const figure = await sandbox.runCode("import matplotlib.pyplot as plt; plt.plot([1, 4, 9]); plt.show()", { formats: ["png", "svg"] });
const picture = figure.results.find((result) => result.png);
assert.deepEqual([...picture.bytes("image/png").subarray(1, 4)], [...Buffer.from("PNG")]);
assert.match(figure.results.map((result) => result.svg ?? "").join(""), /<svg/);

const heard = [];
const counted = await sandbox.runCode("import sys, time\nfor i in range(3): print(i, flush=True); time.sleep(0.05)\nprint('e', file=sys.stderr)\n1/0", {
  onStdout: ({ text }) => heard.push(text),
  onStderr: ({ text }) => heard.push(`!${text}`),
  onError: ({ name }) => heard.push(name),
});
assert.equal(heard.join(""), "0\n1\n2\n!e\nZeroDivisionError");
assert.deepEqual([counted.status, counted.error.code, counted.error.name], ["error", "EXCEPTION", "ZeroDivisionError"]);
assert.match(counted.error.traceback.join("\n"), /ZeroDivisionError/);

// a display that is updated appears once, in its last form
const updated = await sandbox.runCode("h = display('first', display_id=True); h.update('second')");
assert.deepEqual(updated.results.map((result) => result.text), ["'second'"]);
assert.deepEqual((await sandbox.getExecution(updated.id)).results.map((result) => result.toJSON()), updated.results.map((result) => result.toJSON()));

assert.equal((await sandbox.runCode("while True: pass", { timeout: 300 })).error.code, "TIMEOUT");

// an abort interrupts the run; variables are kept
const controller = new AbortController();
const endless = sandbox.runCode("print('go', flush=True)\nwhile True: pass", { signal: controller.signal, onStdout: () => controller.abort() });
await assert.rejects(endless, { name: "AbortError" });
assert.equal((await sandbox.runCode("x")).text, "20");

const asked = await sandbox.runCode("input('name? ')", { onInput: ({ prompt }) => (prompt === "name? " ? "Ada" : "?") });
assert.equal(asked.text, "'Ada'");

for await (const event of sandbox.runCodeStream("print('streamed')")) console.log(event.type);

assert.ok((await sandbox.complete(context, "impo")).matches.includes("import"));
assert.equal((await sandbox.inspect(context, "len")).found, true);
assert.equal((await sandbox.listCodeContexts()).length, 2);
assert.ok((await sandbox.listExecutions()).length > 5);
await sandbox.restartCodeContext(context);
await sandbox.deleteCodeContext(context);

const cell = (source, tags = []) => ({ cell_type: "code", source, metadata: { tags }, outputs: [], execution_count: null });
const notebook = { nbformat: 4, nbformat_minor: 5, metadata: {}, cells: [cell("n = 1", ["parameters"]), cell("n * 2")] };
const ran = await sandbox.executeNotebook(notebook, { parameters: { n: 21 }, onCellDone: ({ index, status }) => console.log(index, status) });
assert.equal(ran.status, "ok");
assert.match(JSON.stringify(ran.notebook.cells.at(-1).outputs), /42/);

await sandbox.destroy();
console.log("ok");
