// Subshells (JEP 91): cells that run beside the main shell of one kernel.

import assert from "node:assert/strict";
import { check, eventually, kernelOf, managerOf, run, said } from "./kernel.mjs";

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

check("comms over a subshell of their own, as widgets use them", async (t) => {
    const kernel = await kernelOf(t, undefined, { commsOverSubshells: "perComm" });
    await run(
        kernel,
        [
            "import threading",
            "from comm import get_comm_manager",
            "gate, log = threading.Event(), []",
            "def opened(comm, m):",
            "    comm.on_msg(lambda m: (log.append(m['content']['data']), gate.set()))",
            "    comm.on_close(lambda m: log.append('closed'))",
            "get_comm_manager().register_target('beside', opened)",
        ].join("\n"),
    );
    const comm = kernel.createComm("beside");
    await comm.open().done;
    await eventually(
        async () => (await kernel.requestListSubshell({}).done).content.subshell_id.length === 1,
        "the comm has its subshell",
    );
    const began = said(kernel, "stream");
    const blocked = run(kernel, "print('waiting', flush=True)\ngate.wait(60)");
    await began;
    await comm.send(1).done; // heard while the main shell is busy
    assert.equal((await blocked).result, "True");
    await comm.close().done; // the library deletes the subshell at once: what was sent to it before still counts
    assert.equal((await run(kernel, "log")).result, "[1, 'closed']");
});
