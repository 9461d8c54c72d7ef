// Sessions: a path and its kernel.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { check, emitted, KernelAPI, kernelName, managerOf, run, SessionAPI, SessionManager, settings } from "./kernel.mjs";

function sessionsOf(t) {
    const manager = new SessionManager({ serverSettings: settings(), kernelManager: managerOf(t) });
    t.after(() => manager.dispose());
    return manager;
}

const options = () => {
    const path = `${randomUUID()}.ipynb`; // need not exist: a session is only named after it
    return { path, name: path, type: "notebook", kernel: { name: kernelName } };
};

check("a session from start to shutdown", async (t) => {
    const manager = sessionsOf(t);
    await manager.ready;
    const wanted = options();
    const session = await manager.startNew(wanted);
    assert.equal(session.path, wanted.path);
    assert.equal(session.name, wanted.name);
    assert.equal(session.type, "notebook");
    assert.equal((await run(session.kernel, "6 * 7")).result, "42");
    assert.equal((await manager.findByPath(wanted.path)).id, session.id);
    assert.equal((await manager.findById(session.id)).kernel.id, session.kernel.id);
    assert.ok((await SessionAPI.listRunning(settings())).some((m) => m.id === session.id));
    const kernel = session.kernel.id;
    await session.shutdown();
    assert.ok(!(await SessionAPI.listRunning(settings())).some((m) => m.id === session.id));
    assert.equal(await KernelAPI.getKernelModel(kernel, settings()), undefined);
    await manager.stopIfNeeded(wanted.path);
});

check("the same path again is the same session", async (t) => {
    const wanted = options();
    const first = await SessionAPI.startSession(wanted, settings());
    const second = await SessionAPI.startSession(wanted, settings());
    assert.equal(second.id, first.id);
    assert.equal(second.kernel.id, first.kernel.id);
    await sessionsOf(t).shutdown(first.id);
});

check("a session may be renamed and given another kernel", async (t) => {
    const manager = sessionsOf(t);
    const session = await manager.startNew(options());
    const moved = `folder/${randomUUID()}.ipynb`;
    await session.setPath(moved);
    await session.setName("a name");
    await session.setType("console");
    const model = await SessionAPI.getSessionModel(session.id, settings());
    assert.deepEqual([model.path, model.name, model.type], [moved, "a name", "console"]);
    const old = session.kernel.id;
    await run(session.kernel, "x = 1");
    const changed = emitted(session.kernelChanged);
    await session.changeKernel({ name: kernelName });
    await changed;
    assert.notEqual(session.kernel.id, old);
    assert.equal((await run(session.kernel, "'x' in globals()")).result, "False");
    assert.equal(await KernelAPI.getKernelModel(old, settings()), undefined);
    await session.shutdown();
});

check("a second manager connects to the session", async (t) => {
    const session = await sessionsOf(t).startNew(options());
    await run(session.kernel, "x = 41");
    const other = sessionsOf(t);
    await other.ready;
    const connected = other.connectTo({ model: await other.findById(session.id) });
    assert.equal((await run(connected.kernel, "x + 1")).result, "42");
    await session.shutdown();
});

check("a session on a kernel that runs already", async (t) => {
    const kernel = await managerOf(t).startNew({ name: kernelName });
    await run(kernel, "x = 1");
    const session = await sessionsOf(t).startNew({ ...options(), kernel: { id: kernel.id } });
    assert.equal(session.kernel.id, kernel.id);
    assert.equal((await run(session.kernel, "x")).result, "1");
    await session.shutdown();
});

check("what fails, and how", async () => {
    const unknown = "00000000-0000-4000-8000-000000000000";
    await assert.rejects(SessionAPI.getSessionModel(unknown, settings()), (e) => e.response?.status === 404);
    await assert.rejects(
        SessionAPI.startSession({ ...options(), kernel: { name: "no-such-kernel" } }, settings()),
        (e) => [400, 404, 500, 501].includes(e.response?.status),
    );
});
