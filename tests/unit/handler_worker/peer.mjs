/** Plays egress for a worker: a process with the socket at descriptor 3, and frames both ways. */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { once } from 'node:events';

const WORKER = process.env.HANDLER_WORKER ?? path.resolve(import.meta.dirname, '../../../sandbox/egress/handlers/worker/worker.mjs');

export const LOAD = 1;
export const UNLOAD = 2;
export const LOADED = 3;
export const CALL = 4;
export const HEAD = 5;
export const DATA = 6;
export const END = 7;
export const ERROR = 8;
export const CANCEL = 9;
export const WINDOW = 10;
export const FETCH = 11;
export const PING = 12;
export const PONG = 13;
export const LOG = 14;
export const DONE = 15;

const HEAD_BYTES = 12;

function encode(type, stream, payload = '') {
  const body = Buffer.isBuffer(payload) || typeof payload === 'string' ? Buffer.from(payload) : Buffer.from(JSON.stringify(payload));
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt32LE(body.length);
  head[4] = type;
  head.writeUInt32LE(stream, 8);
  return Buffer.concat([head, body]);
}

export class Peer {
  #held = Buffer.alloc(0);
  #frames = [];
  #waiting = [];
  #version = 0;
  #calls = 0;

  constructor(...flags) {
    this.process = spawn(process.execPath, ['--experimental-vm-modules', '--no-warnings', ...flags, WORKER], {
      stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
    });
    this.socket = this.process.stdio[3];
    this.socket.on('data', (chunk) => this.#take(chunk));
  }

  #take(chunk) {
    this.#held = Buffer.concat([this.#held, chunk]);
    while (this.#held.length >= HEAD_BYTES) {
      const end = HEAD_BYTES + this.#held.readUInt32LE();
      if (this.#held.length < end) break;
      this.#frames.push({ type: this.#held[4], stream: this.#held.readUInt32LE(8), payload: this.#held.subarray(HEAD_BYTES, end) });
      this.#held = this.#held.subarray(end);
    }
    for (const wake of this.#waiting.splice(0)) wake();
  }

  send(type, stream, payload) {
    this.socket.write(encode(type, stream, payload));
  }

  /** Many frames in one write. */
  sendAll(...frames) {
    this.socket.write(Buffer.concat(frames.map((f) => encode(...f))));
  }

  /** The next frame of one of the types, of any or of one stream; frames of others wait. */
  async next(types, stream) {
    const wanted = [types].flat();
    for (;;) {
      const at = this.#frames.findIndex((f) => wanted.includes(f.type) && (stream === undefined || f.stream === stream));
      if (at >= 0) return this.#frames.splice(at, 1)[0];
      await new Promise((resolve) => this.#waiting.push(resolve));
    }
  }

  async json(types, stream) {
    const frame = await this.next(types, stream);
    return { ...JSON.parse(frame.payload.toString()), type: frame.type, stream: frame.stream };
  }

  /** Everything that has come and was not asked for; after a PING's answer that is all there is. */
  async rest() {
    this.send(PING, 0);
    await this.next(PONG);
    return this.#frames.splice(0);
  }

  /** The error, or undefined. */
  async load(source, { name = 'm', env = {} } = {}) {
    this.send(LOAD, 0, { name, version: ++this.#version, source, env });
    return (await this.json(LOADED)).error;
  }

  /** A call without a body, unless `body` says that one follows; its stream. */
  call(handler = 'm', { method = 'GET', url = 'https://one.test/', headers = [], params = null, body = null } = {}) {
    this.#calls += 2;
    const sandbox = { name: 'box', id: 'id' };
    this.send(CALL, this.#calls, { handler, params, method, url, headers, sandbox });
    if (body !== null && body.length) this.send(DATA, this.#calls, body);
    if (body !== undefined) this.send(END, this.#calls);
    return this.#calls;
  }

  /** {status, headers, body, lingers} of a call, or {error}. */
  async answer(stream) {
    const head = await this.json([HEAD, ERROR], stream);
    if (head.type === ERROR) return { error: head.message };
    const parts = [];
    for (;;) {
      const frame = await this.next([DATA, END, ERROR], stream);
      if (frame.type === ERROR) return { ...head, error: JSON.parse(frame.payload.toString()).message };
      if (frame.type === END)
        return { status: head.status, headers: head.headers, body: Buffer.concat(parts), lingers: frame.payload[0] === 1 };
      parts.push(frame.payload);
      const window = Buffer.alloc(4);
      window.writeUInt32LE(frame.payload.length);
      this.send(WINDOW, stream, window);
    }
  }

  ask(handler, options) {
    return this.answer(this.call(handler, options));
  }

  /** Answers the next fetch; gives what it asked for, with its whole body. */
  async serve(status = 200, headers = [], body = '') {
    const fetch = await this.json(FETCH);
    const parts = [];
    while (fetch.body) {
      const frame = await this.next([DATA, END], fetch.stream);
      if (frame.type === END) break;
      parts.push(frame.payload);
    }
    const whole = body.length ? [[DATA, fetch.stream, body]] : [];
    this.sendAll([HEAD, fetch.stream, { status, headers }], ...whole, [END, fetch.stream]);
    return { ...fetch, sent: Buffer.concat(parts) };
  }

  async close() {
    this.socket.end();
    if (this.process.exitCode === null) await once(this.process, 'exit');
  }
}
