/** The process that runs handlers: one socket to egress at descriptor 3, nothing else. */
import net from 'node:net';
import { CALL, CANCEL, DATA, END, ERROR, HEAD, LOAD, LOADED, LOG, PING, PONG, UNLOAD, WINDOW, reader, send } from './frames.mjs';
import { Incoming, Outgoing } from './bodies.mjs';
import { fetches, makeFetch } from './fetch.mjs';
import { current, find, load, unload } from './modules.mjs';

const NO_BODY = new Set([204, 205, 304]);
const socket = new net.Socket({ fd: 3 });
const calls = new Map();

const parse = (payload) => JSON.parse(payload.toString());
const log = (text) => send(socket, LOG, 0, Buffer.from(text.slice(0, 2000)));

function messageOf(error) {
  return error instanceof Error || typeof error?.message === 'string' ? String(error.message) : String(error);
}

async function onLoad(o) {
  try {
    await load(o, log);
    send(socket, LOADED, 0, { name: o.name, version: o.version });
  } catch (error) {
    send(socket, LOADED, 0, { name: o.name, version: o.version, error: messageOf(error) });
  }
}

function makeRequest(o, body, signal) {
  const bare = o.method === 'GET' || o.method === 'HEAD';
  return new Request(o.url, {
    method: o.method,
    headers: o.headers.filter(([name]) => name !== 'content-length'),
    body: bare ? undefined : body,
    duplex: 'half',
    redirect: 'manual',
    signal,
  });
}

async function answer(id, call, response) {
  if (typeof response?.status !== 'number' || typeof response.headers?.entries !== 'function')
    throw new Error('it returned no Response');
  const bare = !response.body || NO_BODY.has(response.status);
  send(socket, HEAD, id, {
    status: response.status,
    headers: [...response.headers],
    end: bare,
  });
  if (bare) send(socket, END, id);
  else await call.outgoing.run(response.body);
}

async function onCall(id, o) {
  const aborter = new AbortController();
  const call = { outgoing: new Outgoing(socket, id), aborter };
  if (o.method !== 'GET' && o.method !== 'HEAD') call.incoming = new Incoming(socket, id, () => {});
  calls.set(id, call);
  try {
    const request = makeRequest(o, call.incoming?.stream, aborter.signal);
    call.fetch = makeFetch(socket, id, request);
    const { handler, env } = find(o.handler, o.url);
    const ctx = {
      sandbox: Object.freeze(o.sandbox),
      containerId: o.sandbox.id,
      params: o.params,
      waitUntil: (promise) => Promise.resolve(promise).catch((error) => log(`waitUntil: ${messageOf(error)}`)),
    };
    const response = await current.run(call, () => handler(request, env, ctx));
    await answer(id, call, response);
  } catch (error) {
    if (calls.has(id)) send(socket, ERROR, id, { message: messageOf(error) });
  } finally {
    calls.delete(id);
  }
}

function onCancel(id) {
  const call = calls.get(id);
  if (!call) return;
  calls.delete(id);
  const reason = new DOMException('the request was given up', 'AbortError');
  call.aborter.abort(reason);
  call.outgoing.cancel(reason);
  call.incoming?.fail(reason);
}

function onFrame(type, id, payload) {
  const call = calls.get(id);
  const fetching = fetches.get(id);
  switch (type) {
    case PING:
      send(socket, PONG, 0);
      break;
    case LOAD:
      void onLoad(parse(payload));
      break;
    case UNLOAD:
      unload(parse(payload).name);
      break;
    case CALL:
      void onCall(id, parse(payload));
      break;
    case CANCEL:
      onCancel(id);
      break;
    case HEAD:
      fetching?.head(parse(payload));
      break;
    case DATA:
      (call?.incoming ?? { push: fetching?.data ?? (() => {}) }).push(payload);
      break;
    case END:
      if (call) call.incoming?.end();
      else fetching?.end();
      break;
    case ERROR:
      fetching?.error(parse(payload).message);
      break;
    case WINDOW: {
      const bytes = payload.readUInt32LE(0);
      call?.outgoing.window(bytes);
      fetching?.window(bytes);
      break;
    }
    default:
      break;
  }
}

process.on('unhandledRejection', (error) => log(`unhandled rejection: ${messageOf(error)}`));
socket.on('data', reader(onFrame));
socket.on('close', () => process.exit(0));
socket.on('error', () => process.exit(1));
