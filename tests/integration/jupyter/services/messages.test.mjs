// Every message that the library can send, over both forms of the WebSocket.

import assert from "node:assert/strict";
import { check, kernelOf, legacy, run, said, settings } from "./kernel.mjs";

const FORMS = { v1: settings, legacy };

for (const [form, make] of Object.entries(FORMS)) {
    check(`${form}: outputs of every kind in order`, async (t) => {
        const kernel = await kernelOf(t, make());
        const cell = await run(
            kernel,
            [
                "import sys",
                "from IPython.display import clear_output",
                "print('out')",
                "h = display({'text/plain': 'first', 'text/html': '<b>1</b>'}, raw=True, display_id='d1')",
                "h.update({'text/plain': 'second'}, raw=True)",
                "clear_output()",
                "sys.stdout.flush(); print('err', file=sys.stderr); sys.stderr.flush()",
                "6 * 7",
            ].join("\n"),
            { user_expressions: { twice: "2 * 21", bad: "1/0" } },
        );
        assert.equal(cell.reply.status, "ok");
        assert.equal(cell.reply.execution_count, 1);
        assert.equal(cell.reply.user_expressions.twice.data["text/plain"], "42");
        assert.equal(cell.reply.user_expressions.bad.ename, "ZeroDivisionError");
        assert.deepEqual(cell.types, [
            "stream stdout",
            "display_data",
            "update_display_data",
            "clear_output",
            "stream stderr",
            "execute_result",
        ]);
        assert.equal(cell.text(), "out\n");
        assert.equal(cell.text("stderr"), "err\n");
        assert.equal(cell.of("display_data")[0].data["text/html"], "<b>1</b>");
        assert.equal(cell.of("display_data")[0].transient.display_id, "d1");
        assert.equal(cell.of("update_display_data")[0].data["text/plain"], "second");
        assert.equal(cell.result, "42");
        assert.deepEqual(cell.of("status").map((s) => s.execution_state), ["busy", "idle"]);
        assert.equal(cell.of("execute_input")[0].execution_count, 1);
    });

    check(`${form}: an error, and the queue behind it`, async (t) => {
        const kernel = await kernelOf(t, make());
        const first = run(kernel, "import time; time.sleep(0.3); 1/0", { stop_on_error: true });
        const second = run(kernel, "'never'");
        const failed = await first;
        assert.equal(failed.reply.status, "error");
        assert.equal(failed.reply.ename, "ZeroDivisionError");
        assert.equal(failed.of("error")[0].evalue, "division by zero");
        assert.ok(failed.of("error")[0].traceback.length > 0);
        const behind = await second;
        assert.equal(behind.reply.status, "aborted");
        assert.equal((await run(kernel, "'after'")).result, "'after'");
        const [, kept] = await Promise.all([run(kernel, "1/0", { stop_on_error: false }), run(kernel, "'kept'")]);
        assert.equal(kept.result, "'kept'");
    });

    check(`${form}: input and getpass`, async (t) => {
        const kernel = await kernelOf(t, make());
        const asked = [];
        const cell = await run(kernel, "import getpass\na = input('name? ')\nb = getpass.getpass('key? ')\na, b", {
            answer: (prompt, password) => {
                asked.push([prompt, password]);
                return password ? "s3cret" : "Ädä";
            },
        });
        assert.deepEqual(asked, [["name? ", false], ["key? ", true]]);
        assert.equal(cell.result, "('Ädä', 's3cret')");
        const refused = await run(kernel, "input()");
        assert.equal(refused.reply.ename, "StdinNotImplementedError");
    });

    check(`${form}: comms from the kernel, with buffers both ways`, async (t) => {
        const kernel = await kernelOf(t, make());
        const opened = new Promise((resolve) => {
            kernel.registerCommTarget("from-kernel", (comm, message) => {
                const messages = [];
                const closed = new Promise((done) => (comm.onClose = done));
                comm.onMsg = (m) => void messages.push(m);
                resolve({ comm, message, messages, closed });
            });
        });
        await run(
            kernel,
            [
                "from comm import create_comm",
                "c = create_comm(target_name='from-kernel', data={'hello': 1}, metadata={'m': 2}, buffers=[b'\\x00\\xff', b''])",
                "got = []",
                "def back(m):",
                "    got.append((m['content']['data'], [bytes(b) for b in m['buffers']]))",
                "    c.send({'n': len(got)}, buffers=[bytes(reversed(bytes(b))) for b in m['buffers']])",
                "c.on_msg(back)",
            ].join("\n"),
        );
        const { comm, message, messages, closed } = await opened;
        assert.deepEqual(message.content.data, { hello: 1 });
        assert.deepEqual(message.metadata, { m: 2 });
        assert.deepEqual(message.buffers.map(bytes), [[0, 255], []]);
        const big = new Uint8Array(1 << 20).map((_, i) => i % 251);
        await comm.send({ ask: "α" }, {}, [new Uint8Array([1, 2, 3]), big.buffer]).done;
        assert.deepEqual(messages[0].content.data, { n: 1 });
        assert.deepEqual(bytes(messages[0].buffers[0]), [3, 2, 1]);
        assert.deepEqual(bytes(messages[0].buffers[1]), [...big].reverse());
        const seen = await run(kernel, "[(d, [len(b) for b in bs]) for d, bs in got]");
        assert.equal(seen.result, "[({'ask': 'α'}, [3, 1048576])]");
        assert.equal((await kernel.requestCommInfo({})).content.comms[comm.commId].target_name, "from-kernel");
        await run(kernel, "c.close({'bye': True})");
        assert.deepEqual((await closed).content.data, { bye: true });
        assert.deepEqual((await kernel.requestCommInfo({})).content.comms, {});
    });

    check(`${form}: comms from the client`, async (t) => {
        const kernel = await kernelOf(t, make(), { commsOverSubshells: "disabled" });
        await run(
            kernel,
            [
                "from comm import get_comm_manager",
                "log = []",
                "def opened(comm, m):",
                "    log.append(m['content']['data'])",
                "    comm.on_msg(lambda m: (print('in a message'), comm.send({'echo': m['content']['data']})))",
                "    comm.on_close(lambda m: log.append('closed'))",
                "get_comm_manager().register_target('to-kernel', opened)",
            ].join("\n"),
        );
        const comm = kernel.createComm("to-kernel");
        await comm.open({ a: 1 }).done;
        const messages = [];
        comm.onMsg = (m) => void messages.push(m);
        const printed = [];
        const future = comm.send({ b: [2, null, "x"] });
        future.onIOPub = (m) => void printed.push(m.header.msg_type);
        await future.done;
        assert.deepEqual(messages[0].content.data, { echo: { b: [2, null, "x"] } });
        assert.equal(messages[0].parent_header.msg_id, future.msg.header.msg_id);
        assert.ok(printed.includes("stream"), "what a message handler prints belongs to that message");
        await comm.close().done;
        assert.equal((await run(kernel, "log")).result, "[{'a': 1}, 'closed']");
        const refused = said(kernel, "comm_close");
        const nobody = kernel.createComm("no-such-target");
        await nobody.open().done;
        assert.equal((await refused).content.comm_id, nobody.commId);
    });

    check(`${form}: large outputs arrive whole`, async (t) => {
        const kernel = await kernelOf(t, make());
        const cell = await run(kernel, "print('äb' * 500_000)\ndisplay({'text/plain': 'y' * 3_000_000}, raw=True)");
        assert.equal(cell.text(), "äb".repeat(500_000) + "\n");
        assert.equal(cell.of("display_data")[0].data["text/plain"].length, 3_000_000);
        const length = await run(kernel, `len("${"z".repeat(2_000_000)}")`);
        assert.equal(length.result, "2000000");
    });
}

check("questions about code", async (t) => {
    const kernel = await kernelOf(t);
    await run(kernel, "import os\nvery_long_name = 1\ndef f(a, b=2):\n    'Adds.'\n    return a + b");
    const complete = await kernel.requestComplete({ code: "x = 'ä𝕏'; very_lo", cursor_pos: 17 });
    assert.deepEqual(complete.content.matches.filter((m) => m.startsWith("very")), ["very_long_name"]);
    // positions count code points
    assert.deepEqual([complete.content.cursor_start, complete.content.cursor_end], [10, 17]);
    const typed = complete.content.metadata._jupyter_types_experimental;
    assert.ok(typed.some((m) => m.text === "very_long_name" && m.type === "instance"), JSON.stringify(typed));
    const inspect = await kernel.requestInspect({ code: "f(", cursor_pos: 1, detail_level: 0 });
    assert.ok(inspect.content.found && inspect.content.data["text/plain"].includes("Adds."));
    const nothing = await kernel.requestInspect({ code: "no_such_name", cursor_pos: 4, detail_level: 1 });
    assert.equal(nothing.content.found, false);
    const status = async (code) => (await kernel.requestIsComplete({ code })).content;
    assert.deepEqual(await status("for i in x:").then(({ status, indent }) => [status, indent]), ["incomplete", "    "]);
    assert.equal((await status("1 + 1")).status, "complete");
    assert.equal((await status("1 +* 1")).status, "invalid");
    const tail = await kernel.requestHistory({ hist_access_type: "tail", n: 1, output: false, raw: true });
    assert.ok(tail.content.history[0][2].startsWith("import os"));
    const info = (await kernel.requestKernelInfo()).content;
    assert.equal(info.language_info.name, "python");
    assert.match(info.protocol_version, /^5\./);
});

check("silent and unstored requests", async (t) => {
    const kernel = await kernelOf(t);
    const silent = await run(kernel, "print('x'); 5", { silent: true });
    assert.deepEqual(silent.of("execute_input"), []);
    assert.equal(silent.result, undefined);
    await run(kernel, "a = 1", { store_history: false });
    assert.equal((await run(kernel, "a")).reply.execution_count, 1);
});

check("futures of many requests at once end in order", async (t) => {
    const kernel = await kernelOf(t);
    const cells = await Promise.all(Array.from({ length: 100 }, (_, i) => run(kernel, `print(${i}); ${i}`)));
    assert.deepEqual(cells.map((c) => c.result), cells.map((_, i) => String(i)));
    assert.deepEqual(cells.map((c) => c.reply.execution_count), cells.map((_, i) => i + 1));
});

/** Of a buffer as the library gives it: a DataView or an ArrayBuffer. */
function bytes(buffer) {
    const view = ArrayBuffer.isView(buffer)
        ? new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength)
        : new Uint8Array(buffer);
    return [...view];
}
