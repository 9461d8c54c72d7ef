// The debugger, driven over control as JupyterLab drives it: DAP requests in debug_request, events on iopub.

import assert from "node:assert/strict";
import { check, kernelOf, managerOf, run, said } from "./kernel.mjs";

const CELL = ["def area(w, h):", "    result = w * h", "    return result", "", "total = area(6, 7)", "total"].join("\n");

/** A debugger client on that kernel. */
class Debugger {
    constructor(kernel) {
        this.kernel = kernel;
        this.seq = 0;
    }

    async ask(command, args = {}) {
        const request = { type: "request", seq: ++this.seq, command, arguments: args };
        return (await this.kernel.requestDebug(request).done).content;
    }

    async must(command, args) {
        const reply = await this.ask(command, args);
        assert.ok(reply.success, `${command}: ${JSON.stringify(reply)}`);
        return reply.body;
    }

    event(name) {
        return said(this.kernel, "debug_event", (c) => c.event === name).then((m) => m.content.body);
    }

    async start() {
        const capabilities = await this.must("initialize", {
            clientID: "jupyterlab",
            clientName: "JupyterLab",
            adapterID: "python",
            pathFormat: "path",
            linesStartAt1: true,
            columnsStartAt1: true,
            supportsVariableType: true,
            supportsVariablePaging: true,
            supportsRunInTerminalRequest: true,
            locale: "en",
        });
        assert.ok(capabilities.supportsSetVariable);
        await this.must("attach", {});
    }

    /** Breakpoints in a cell; returns the name of its file. */
    async breakpoints(code, lines) {
        const { sourcePath } = await this.must("dumpCell", { code });
        const { breakpoints } = await this.must("setBreakpoints", {
            breakpoints: lines.map((line) => ({ line })),
            source: { path: sourcePath },
            sourceModified: false,
        });
        assert.ok(breakpoints.every((b) => b.verified), JSON.stringify(breakpoints));
        await this.must("configurationDone");
        return sourcePath;
    }

    async variables(threadId) {
        const { stackFrames } = await this.must("stackTrace", { threadId });
        const { scopes } = await this.must("scopes", { frameId: stackFrames[0].id });
        const { variables } = await this.must("variables", { variablesReference: scopes[0].variablesReference });
        return { frame: stackFrames[0], variables: Object.fromEntries(variables.map((v) => [v.name, v])) };
    }
}

async function started(t) {
    const kernel = await kernelOf(t);
    const debug = new Debugger(kernel);
    await debug.start();
    return debug;
}

check("kernel_info announces the debugger", async (t) => {
    const kernel = await kernelOf(t);
    const info = await kernel.info;
    assert.ok(info.debugger || info.supported_features?.includes("debugger"), JSON.stringify(info));
});

check("debugInfo before and after the start", async (t) => {
    const kernel = await kernelOf(t);
    const debug = new Debugger(kernel);
    const before = await debug.must("debugInfo");
    assert.equal(before.isStarted, false);
    assert.equal(before.hashMethod, "Murmur2");
    assert.ok(Number.isInteger(before.hashSeed) && before.tmpFilePrefix && before.tmpFileSuffix === ".py");
    await debug.start();
    const file = await debug.breakpoints(CELL, [2]);
    const after = await debug.must("debugInfo");
    assert.equal(after.isStarted, true);
    assert.deepEqual(after.breakpoints.map((b) => [b.source, b.breakpoints.map((x) => x.line)]), [[file, [2]]]);
    assert.ok(file.startsWith(after.tmpFilePrefix) && file.endsWith(after.tmpFileSuffix));
    assert.equal((await debug.must("source", { source: { path: file } })).content, CELL);
    await debug.must("disconnect", { restart: false, terminateDebuggee: false });
    assert.equal((await debug.must("debugInfo")).isStarted, false);
    assert.equal((await run(kernel, "1 + 1")).result, "2");
});

check("a breakpoint, variables, evaluation, steps and the rest of the cell", async (t) => {
    const debug = await started(t);
    const { kernel } = debug;
    const file = await debug.breakpoints(CELL, [2]);
    const stopped = debug.event("stopped");
    const cell = run(kernel, CELL);
    const { threadId, reason } = await stopped;
    assert.equal(reason, "breakpoint");
    const { frame, variables } = await debug.variables(threadId);
    assert.deepEqual([frame.name, frame.line, frame.source.path], ["area", 2, file]);
    assert.deepEqual([variables.w.value, variables.h.value, variables.w.type], ["6", "7", "int"]);
    assert.ok((await debug.must("debugInfo")).stoppedThreads.includes(threadId));

    // control answers while the cell stands: so may another client
    assert.equal((await debug.must("evaluate", { expression: "w + h", frameId: frame.id, context: "repl" })).result, "13");
    const scopes = (await debug.must("scopes", { frameId: frame.id })).scopes;
    await debug.must("setVariable", { variablesReference: scopes[0].variablesReference, name: "w", value: "10" });
    const rich = await debug.must("richInspectVariables", { variableName: "w", frameId: frame.id });
    assert.equal(rich.data["text/plain"], "10");
    await debug.must("copyToGlobals", { srcVariableName: "w", dstVariableName: "w_copy", srcFrameId: frame.id });

    const next = debug.event("stopped");
    await debug.must("next", { threadId });
    assert.equal((await next).reason, "step");
    assert.equal((await debug.variables(threadId)).variables.result.value, "70");
    await debug.must("continue", { threadId });
    assert.equal((await cell).result, "70");
    assert.deepEqual((await debug.must("debugInfo")).stoppedThreads, []);
    assert.equal((await run(kernel, "w_copy, total")).result, "(10, 70)");
});

check("stepping in and out", async (t) => {
    const debug = await started(t);
    await debug.breakpoints(CELL, [5]);
    const step = async (command, threadId) => {
        const stopped = debug.event("stopped");
        await debug.must(command, { threadId });
        await stopped;
        return (await debug.variables(threadId)).frame;
    };
    const stopped = debug.event("stopped");
    const cell = run(debug.kernel, CELL);
    const { threadId } = await stopped;
    const inside = await step("stepIn", threadId);
    assert.equal(inside.name, "area");
    const outside = await step("stepOut", threadId);
    assert.notEqual(outside.name, "area");
    await debug.must("continue", { threadId });
    assert.equal((await cell).result, "42");
});

check("variables of the running kernel without a stop", async (t) => {
    const debug = await started(t);
    await run(debug.kernel, "answer = 42\nnames = ['a', 'b']");
    const { variables } = await debug.must("inspectVariables");
    const found = Object.fromEntries(variables.map((v) => [v.name, v]));
    assert.equal(found.answer.value, "42");
    const inner = await debug.must("variables", { variablesReference: found.names.variablesReference });
    assert.ok(inner.variables.some((v) => v.value === "'b'"));
    const rich = await debug.must("richInspectVariables", { variableName: "names" });
    assert.equal(rich.data["text/plain"], "['a', 'b']");
});

check("a second client attaches at a breakpoint and lets the cell go on", async (t) => {
    const debug = await started(t);
    await debug.breakpoints(CELL, [2]);
    const stopped = debug.event("stopped");
    const cell = run(debug.kernel, CELL);
    const { threadId } = await stopped;
    const second = managerOf(t).connectTo({ model: debug.kernel.model });
    const other = new Debugger(second);
    assert.ok((await other.must("debugInfo")).stoppedThreads.includes(threadId));
    await other.must("continue", { threadId });
    assert.equal((await cell).result, "42");
});

check("disconnecting at a breakpoint lets the cell go on", async (t) => {
    const debug = await started(t);
    await debug.breakpoints(CELL, [2]);
    const stopped = debug.event("stopped");
    const cell = run(debug.kernel, CELL);
    await stopped;
    await debug.must("disconnect", { restart: false, terminateDebuggee: false });
    assert.equal((await cell).result, "42");
});

check("requests that fail are answered and harm nothing", async (t) => {
    const kernel = await kernelOf(t);
    const debug = new Debugger(kernel);
    const early = await debug.ask("stackTrace", { threadId: 1 });
    assert.notEqual(early.success, true, "nothing is attached yet");
    await debug.start();
    const unknown = await debug.ask("noSuchCommand");
    assert.notEqual(unknown.success, true);
    await debug.breakpoints(CELL, [2]);
    const stopped = debug.event("stopped");
    const cell = run(kernel, CELL);
    const { threadId } = await stopped;
    const { frame } = await debug.variables(threadId);
    const wrong = await debug.ask("evaluate", { expression: "1 / 0", frameId: frame.id, context: "repl" });
    assert.equal(wrong.success, false);
    await debug.must("continue", { threadId });
    assert.equal((await cell).result, "42");
});
