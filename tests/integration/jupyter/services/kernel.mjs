// The server under test, and what its kernels are asked through JupyterLab's client library.
//
// TARGET_URL, TARGET_TOKEN and TARGET_KERNEL name any Jupyter server: the same files run against a stock one, which tells
// a fault of the test from a fault of the server.

import assert from "node:assert/strict";
import { test } from "node:test";
import services from "@jupyterlab/services";
import WebSocket from "ws";

export const { KernelAPI, KernelManager, KernelMessage, KernelSpecAPI, KernelSpecManager, SessionAPI, SessionManager } =
    services;

const url = process.env.TARGET_URL;
export const token = process.env.TARGET_TOKEN;
export const kernelName = process.env.TARGET_KERNEL;
const SECONDS = 60;

/** A socket that offers no subprotocol, as clients of before 2022 do: messages are JSON then. */
class LegacySocket extends WebSocket {
    constructor(address) {
        super(address);
    }
}

/** Settings of a client. @param {object} more overrides, e.g. {token} */
export function settings(more = {}) {
    return services.ServerConnection.makeSettings({
        baseUrl: url,
        wsUrl: url.replace(/^http/, "ws"),
        token,
        appendToken: true,
        ...more,
    });
}

export const legacy = () => settings({ WebSocket: LegacySocket });

/** A manager that lives as long as the test. */
export function managerOf(t, serverSettings = settings()) {
    const manager = new KernelManager({ serverSettings });
    t.after(() => manager.dispose());
    return manager;
}

/** A kernel of its own for one test; it is shut down afterwards. */
export async function kernelOf(t, serverSettings = settings(), options = {}) {
    const manager = managerOf(t, serverSettings);
    const kernel = await manager.startNew({ name: kernelName }, options);
    t.after(() => kernel.isDisposed || kernel.shutdown());
    await kernel.info;
    return kernel;
}

/** What one cell gave. */
export class Cell {
    constructor(reply, messages) {
        this.reply = reply;
        this.messages = messages;
    }
    of(type) {
        return this.messages.filter((m) => m.header.msg_type === type).map((m) => m.content);
    }
    text(name = "stdout") {
        return this.of("stream")
            .filter((s) => s.name === name)
            .map((s) => s.text)
            .join("");
    }
    get result() {
        return this.of("execute_result")[0]?.data["text/plain"];
    }
    /** Kinds of outputs in order; text may come in any number of pieces. */
    get types() {
        const kinds = this.messages.map((m) => (m.content.name ? `${m.header.msg_type} ${m.content.name}` : m.header.msg_type));
        const outputs = kinds.filter((kind) => kind !== "status" && kind !== "execute_input");
        return outputs.filter((kind, i) => kind !== outputs[i - 1]);
    }
}

/** Runs a cell to its reply and idle. `answer(prompt, password)` answers input requests. */
export async function run(kernel, code, { answer, ...content } = {}) {
    const future = kernel.requestExecute({ code, allow_stdin: Boolean(answer), ...content });
    const messages = [];
    future.onIOPub = (message) => void messages.push(message);
    future.onStdin = (message) => {
        const { prompt, password } = message.content;
        future.sendInputReply({ status: "ok", value: answer(prompt, password) }, message.header);
    };
    return new Cell((await future.done).content, messages);
}

/** The next emission of a signal for which `wanted(args)` holds. Ask before causing it. */
export function emitted(signal, wanted = () => true) {
    return new Promise((resolve) => {
        const slot = (_sender, args) => {
            if (wanted(args)) {
                signal.disconnect(slot);
                resolve(args);
            }
        };
        signal.connect(slot);
    });
}

/** The next message of that type on iopub. */
export function said(kernel, type, wanted = () => true) {
    return emitted(kernel.iopubMessage, (m) => m.header.msg_type === type && wanted(m.content));
}

/** Until `condition()` holds. */
export async function eventually(condition, what) {
    const end = Date.now() + SECONDS * 1000;
    while (!(await condition())) {
        assert.ok(Date.now() < end, `never came true: ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
    }
}

export function check(name, work) {
    test(name, { timeout: SECONDS * 1000 }, work);
}
