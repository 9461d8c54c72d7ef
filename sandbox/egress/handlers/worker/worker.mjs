/** The process that runs handlers: one socket to egress at descriptor 3, nothing else. */
import net from 'node:net';
import {
  CALL, CANCEL, DATA, DONE, END, ERROR, HEAD, LOAD, LOADED, LOG, PING, PONG, UNLOAD, WINDOW, reader, send,
} from './frames.mjs';
import { Incoming, Outgoing } from './bodies.mjs';
import { closed, keepLength } from './decode.mjs';
import { fetches, makeFetch } from './fetch.mjs';
import { current, find, load, unload } from './modules.mjs';

const NO_BODY = new Set([204, 205, 304]);
const LOGS_A_SECOND = 100;
const socket = new net.Socket({ fd: 3 });
const calls = new Map();

// What ends or signals processes goes away even for code that got hold of `process`.
const leave = process.reallyExit.bind(process);
for (const name of ['exit', 'reallyExit', 'kill', '_kill', 'abort', 'dlopen', 'binding', '_linkedBinding', 'getBuiltinModule', 'chdir'])
  delete process[name];

const parse = (payload) => JSON.parse(payload.toString());

let logged = 0;
let loggedIn = 0;

/** To egress' log, so many lines a second. */
function log(text) {
  const second = Math.floor(performance.now() / 1000);
  if (second !== loggedIn) {
    loggedIn = second;
    logged = 0;
  }
  if (logged++ < LOGS_A_SECOND) send(socket, LOG, 0, Buffer.from(text));
}

function messageOf(error) {
  try {
    return String(typeof error?.message === 'string' ? error.message : error);
  } catch {
    return 'something that has no text';
  }
}

async function onLoad(o) {
  try {
    await load(o, log);
    send(socket, LOADED, 0, { name: o.name, version: o.version });
  } catch (error) {
    send(socket, LOADED, 0, { name: o.name, version: o.version, error: messageOf(error) });
  }
}

function signalOf(call) {
  call.aborter ??= new AbortController();
  if (call.cancelled) call.aborter.abort(call.cancelled);
  return call.aborter.signal;
}

function makeRequest(o, body, call) {
  const bare = o.method === 'GET' || o.method === 'HEAD';
  if (body) keepLength(o.headers, body);
  const request = new Request(o.url, {
    method: o.method,
    headers: o.headers,
    body: bare ? undefined : body,
    duplex: 'half',
    redirect: 'manual',
  });
  // made when somebody asks: it costs as much as the rest of the request
  Object.defineProperty(request, 'signal', { get: () => signalOf(call) });
  return request;
}

/** A call is over when its answer is and what it said to wait for. */
function finish(id, call) {
  if (calls.get(id) !== call) return;
  if (call.waits > 0) return;
  calls.delete(id);
  if (call.lingers) send(socket, DONE, id);
}

async function answer(id, call, response, method) {
  if (typeof response?.status !== 'number' || typeof response.headers?.entries !== 'function')
    throw new Error('it returned no Response');
  if (response.body && response.bodyUsed) throw new Error('the body of its Response was read already');
  const bare = !response.body || NO_BODY.has(response.status) || method === 'HEAD';
  const mayHaveLength = method === 'HEAD' || response.status === 304;
  const headers = [...response.headers].filter(([name]) => !bare || mayHaveLength || name !== 'content-length');
  const out = bare ? { headers } : closed(headers, response.body, response.bodyUsed);
  send(socket, HEAD, id, { status: response.status, headers: out.headers, end: bare });
  const goesOn = () => (call.lingers = call.waits > 0);
  if (bare) {
    response.body?.cancel().catch(() => {});
    send(socket, END, id, goesOn() ? Buffer.of(1) : undefined);
  } else {
    await call.outgoing.run(out.body, goesOn);
  }
  call.incoming?.fail(new TypeError('the answer is complete: nothing more of the request comes'));
}

function contextOf(id, call, o) {
  return {
    sandbox: Object.freeze(o.sandbox),
    containerId: o.sandbox.id,
    params: o.params,
    waitUntil(promise) {
      call.waits++;
      Promise.resolve(promise)
        .catch((error) => log(`waitUntil: ${messageOf(error)}`))
        .then(() => {
          call.waits--;
          if (call.lingers) finish(id, call);
        });
    },
  };
}

async function onCall(id, o) {
  const call = { outgoing: new Outgoing(socket, id), aborter: null, cancelled: null, waits: 0, lingers: false };
  if (o.method !== 'GET' && o.method !== 'HEAD') call.incoming = new Incoming(socket, id, () => {});
  calls.set(id, call);
  try {
    const request = makeRequest(o, call.incoming?.stream, call);
    call.fetch = makeFetch(socket, id, request);
    const { handler, env } = await find(o.handler, o.url);
    const response = await current.run(call, () => handler(request, env, contextOf(id, call, o)));
    await answer(id, call, response, o.method);
    finish(id, call);
  } catch (error) {
    if (calls.get(id) !== call) return;
    calls.delete(id);
    send(socket, ERROR, id, { message: messageOf(error) });
  }
}

function onCancel(id) {
  const call = calls.get(id);
  if (!call) return;
  calls.delete(id);
  const reason = new DOMException('the request was given up', 'AbortError');
  call.cancelled = reason;
  call.aborter?.abort(reason);
  call.outgoing.cancel(reason);
  call.incoming?.fail(reason);
}

function onBody(type, id, payload) {
  const call = calls.get(id);
  const fetching = fetches.get(id);
  if (type === WINDOW) (call?.outgoing ?? fetching)?.window(payload.readUInt32LE(0));
  else if (type === DATA && call) call.incoming?.push(payload);
  else if (type === DATA) fetching?.data(payload);
  else if (call) call.incoming?.end();
  else fetching?.end();
}

function onFrame(type, id, payload) {
  switch (type) {
    case PING:
      send(socket, PONG, 0);
      break;
    case LOAD:
      void onLoad(parse(payload));
      break;
    case UNLOAD:
      void unload(parse(payload).name);
      break;
    case CALL:
      void onCall(id, parse(payload));
      break;
    case CANCEL:
      onCancel(id);
      break;
    case HEAD:
      fetches.get(id)?.head(parse(payload));
      break;
    case ERROR:
      fetches.get(id)?.error(parse(payload).message);
      break;
    case DATA:
    case END:
    case WINDOW:
      onBody(type, id, payload);
      break;
    default:
      break;
  }
}

process.on('unhandledRejection', (error) => log(`unhandled rejection: ${messageOf(error)}`));
socket.on('data', reader(onFrame));
socket.on('close', () => leave(0));
socket.on('error', () => leave(1));
