// Subshells (JEP 91): cells that run beside the main shell of one kernel.

import assert from "node:assert/strict";
import { check, kernelOf, managerOf, run, said } from "./kernel.mjs";

async function subshellOf(t, kernel) {
    const { content } = await kernel.requestCreateSubshell({}).done;
    assert.equal(content.status, "ok");
    const client = managerOf(t).connectTo({ model: kernel.model, subshellId: content.subshell_id });
    await client.info;
    return client;
}

check("a cell in a subshell runs while the main shell is busy", async (t) => {
    const kernel = await kernelOf(t);
    assert.ok(kernel.supportsSubshells);
    await run(kernel, "import threading; gate = threading.Event()");
    const beside = await subshellOf(t, kernel);
    const began = said(kernel, "stream");
    const blocked = run(kernel, "print('waiting', flush=True)\ngate.wait(60)");
    await began;
    const cell = await run(beside, "print('beside'); 6 * 7");
    assert.equal(cell.result, "42");
    assert.equal(cell.text(), "beside\n");
    assert.equal((await run(beside, "1 / 0")).reply.ename, "ZeroDivisionError");
    await run(beside, "gate.set()");
    const waited = await blocked;
    assert.equal(waited.result, "True");
    assert.equal(waited.text(), "waiting\n");
});

check("the list of subshells, and what fails", async (t) => {
    const kernel = await kernelOf(t);
    assert.deepEqual((await kernel.requestListSubshell({}).done).content.subshell_id, []);
    const ids = [];
    for (let i = 0; i < 3; i++) {
        ids.push((await kernel.requestCreateSubshell({}).done).content.subshell_id);
    }
    assert.equal(new Set(ids).size, 3);
    assert.deepEqual((await kernel.requestListSubshell({}).done).content.subshell_id.sort(), [...ids].sort());
    assert.equal((await kernel.requestDeleteSubshell({ subshell_id: ids[1] }).done).content.status, "ok");
    assert.equal((await kernel.requestListSubshell({}).done).content.subshell_id.length, 2);
    const unknown = await kernel.requestDeleteSubshell({ subshell_id: "no-such-subshell" }).done;
    assert.equal(unknown.content.status, "error");
});
