// The life of kernels: REST calls, what their models hold, connections that come and go.

import assert from "node:assert/strict";
import {
    check,
    emitted,
    eventually,
    KernelAPI,
    kernelName,
    kernelOf,
    KernelSpecAPI,
    KernelSpecManager,
    managerOf,
    run,
    said,
    settings,
    token,
} from "./kernel.mjs";

const BUSY = "print('go', flush=True)\nwhile True: pass";

check("kernelspecs", async (t) => {
    const specs = await KernelSpecAPI.getSpecs(settings());
    assert.ok(specs.default in specs.kernelspecs);
    const spec = specs.kernelspecs[kernelName];
    assert.equal(spec.language, "python");
    assert.ok(spec.display_name);
    for (const address of Object.values(spec.resources)) {
        const response = await fetch(new URL(address, process.env.TARGET_URL), {
            headers: { Authorization: `token ${token}` },
        });
        assert.equal(response.status, 200, address);
        assert.ok((await response.arrayBuffer()).byteLength > 0);
    }
    const manager = new KernelSpecManager({ serverSettings: settings() });
    t.after(() => manager.dispose());
    await manager.ready;
    assert.ok(kernelName in manager.specs.kernelspecs);
});

check("a kernel from start to shutdown", async (t) => {
    const manager = managerOf(t);
    const kernel = await manager.startNew({ name: kernelName });
    const { id } = kernel;
    assert.equal((await kernel.info).language_info.name, "python");
    assert.equal((await kernel.spec).language, "python");
    await manager.refreshRunning();
    assert.ok([...manager.running()].some((m) => m.id === id));
    const model = await manager.findById(id);
    assert.equal(model.name, kernelName);
    assert.equal(typeof model.connections, "number");
    assert.ok(Date.parse(model.last_activity) > 0, model.last_activity);
    await eventually(async () => (await KernelAPI.getKernelModel(id, settings())).execution_state === "idle", "idle");
    assert.ok((await KernelAPI.getKernelModel(id, settings())).connections >= 1);
    await kernel.shutdown();
    assert.equal(await KernelAPI.getKernelModel(id, settings()), undefined);
    assert.ok(!(await KernelAPI.listRunning(settings())).some((m) => m.id === id));
});

check("what fails, and how", async () => {
    const unknown = "00000000-0000-4000-8000-000000000000";
    const status = (code) => (error) => error.response?.status === code;
    assert.equal(await KernelAPI.getKernelModel(unknown, settings()), undefined);
    await assert.rejects(KernelAPI.interruptKernel(unknown, settings()), status(404));
    await assert.rejects(KernelAPI.restartKernel(unknown, settings()), status(404)); // a stock server says 500
    await KernelAPI.shutdownKernel(unknown, settings()); // 404 is success for the library: it is gone
    await assert.rejects(KernelAPI.startNew({ name: "no-such-kernel" }, settings()), (error) =>
        [400, 404, 500, 501].includes(error.response?.status),
    );
    for (const wrong of ["wrong", ""]) {
        const refused = (error) => [401, 403].includes(error.response?.status);
        await assert.rejects(KernelAPI.listRunning(settings({ token: wrong })), refused);
        await assert.rejects(KernelAPI.startNew({ name: kernelName }, settings({ token: wrong })), refused);
    }
});

check("interrupt keeps the state", async (t) => {
    const kernel = await kernelOf(t);
    await run(kernel, "kept = 5");
    for (const code of [BUSY, "print('go', flush=True)\nimport time; time.sleep(100)"]) {
        const started = said(kernel, "stream");
        const cell = run(kernel, code);
        await started;
        await kernel.interrupt();
        assert.equal((await cell).reply.ename, "KeyboardInterrupt");
    }
    assert.equal((await run(kernel, "kept")).result, "5");
});

check("restart", async (t) => {
    const kernel = await kernelOf(t);
    const { id } = kernel;
    await run(kernel, "gone = 1");
    const seen = [];
    kernel.statusChanged.connect((_, status) => seen.push(status));
    await kernel.restart();
    assert.equal(kernel.id, id);
    assert.ok(seen.includes("restarting"), String(seen));
    const cell = await run(kernel, "'gone' in globals()");
    assert.equal(cell.result, "False");
    assert.equal(cell.reply.execution_count, 1);
});

check("restart of a kernel that is busy", async (t) => {
    const kernel = await kernelOf(t);
    const started = said(kernel, "stream");
    const future = kernel.requestExecute({ code: BUSY });
    future.done.catch(() => undefined); // cancelled by the restart
    await started;
    await kernel.restart();
    assert.equal((await run(kernel, "1 + 1")).result, "2");
});

check("an interpreter that dies is said, and replaced", async (t) => {
    const kernel = await kernelOf(t);
    const restarting = emitted(kernel.statusChanged, (s) => s === "autorestarting");
    const future = kernel.requestExecute({ code: "import os; os._exit(7)" });
    future.done.catch(() => undefined);
    await restarting;
    await eventually(() => kernel.status === "idle" && kernel.connectionStatus === "connected", "ready again");
    assert.equal((await run(kernel, "'alive again'")).result, "'alive again'");
});

check("two clients of one kernel", async (t) => {
    const first = await kernelOf(t);
    const second = managerOf(t).connectTo({ model: first.model });
    await second.info;
    const heard = said(second, "execute_result", (c) => c.data["text/plain"] === "'from the first'");
    const input = said(second, "execute_input");
    await run(first, "shared = 1\n'from the first'");
    await Promise.all([heard, input]);
    assert.equal((await run(second, "shared + 1")).result, "2");
    second.dispose();
    assert.equal((await run(first, "shared")).result, "1");
});

check("a client attaches to a kernel that is busy", async (t) => {
    const first = await kernelOf(t);
    const started = said(first, "stream");
    const cell = run(first, "print('go', flush=True)\nname = input('wait')", { answer: () => "x" });
    await started;
    const blocked = said(first, "stream");
    const busy = run(first, BUSY);
    await cell;
    await blocked;
    const second = managerOf(t).connectTo({ model: first.model });
    await eventually(() => second.connectionStatus === "connected", "connected while busy");
    await second.interrupt();
    assert.equal((await busy).reply.ename, "KeyboardInterrupt");
    assert.equal((await run(second, "name")).result, "'x'");
});

check("a lost connection comes back with what was missed", async (t) => {
    const kernel = await kernelOf(t);
    const texts = [];
    kernel.iopubMessage.connect((_, m) => m.header.msg_type === "stream" && texts.push(m.content.text));
    const started = said(kernel, "stream");
    const future = kernel.requestExecute({
        code: "import time\nprint('before', flush=True)\ntime.sleep(1)\nprint('missed', flush=True)\ntime.sleep(1)\nprint('after', flush=True)",
    });
    await started;
    const again = emitted(kernel.connectionStatusChanged, (s) => s === "connected");
    kernel._ws.terminate(); // the network goes away: no close handshake
    await again;
    await future.done;
    assert.equal(texts.join(""), "before\nmissed\nafter\n");
    assert.equal((await run(kernel, "1 + 1")).result, "2");
});

check("reconnect() by hand", async (t) => {
    const kernel = await kernelOf(t);
    await run(kernel, "x = 1");
    await kernel.reconnect();
    assert.equal((await run(kernel, "x")).result, "1");
});

check("a kernel shut down by somebody else", async (t) => {
    const kernel = await kernelOf(t);
    const other = managerOf(t);
    await other.ready;
    await other.shutdown(kernel.id);
    const manager = managerOf(t);
    await manager.ready;
    assert.ok(![...manager.running()].some((m) => m.id === kernel.id));
    await eventually(() => kernel.isDisposed || kernel.status === "dead" || kernel.connectionStatus !== "connected", "noticed");
});
