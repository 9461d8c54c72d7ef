/** A worker that somebody has taken over: it speaks frames as it likes. The handler's name says what it does. */
import net from 'node:net';

const [LOAD, LOADED, CALL, HEAD, DATA, END, ERROR, FETCH, PING, PONG] = [1, 3, 4, 5, 6, 7, 8, 11, 12, 13];
const socket = new net.Socket({ fd: 3 });

function send(type, stream, payload = '') {
  const body = Buffer.from(typeof payload === 'string' ? payload : JSON.stringify(payload));
  const head = Buffer.alloc(12);
  head.writeUInt32LE(body.length);
  head[4] = type;
  head.writeUInt32LE(stream, 8);
  socket.write(Buffer.concat([head, body]));
}

let fetches = 1;
const callers = new Map();

function fetch(call, changes, ...bodies) {
  const id = fetches;
  fetches += 2;
  callers.set(id, call);
  send(FETCH, id, { call, method: 'POST', url: 'https://one.test/stuck', headers: [], body: true, ...changes });
  for (const body of bodies) send(DATA, id, body);
  if (bodies.length) send(END, id);
}

const respond = (id, headers, status = 200) => send(HEAD, id, { status, headers });

const DEEDS = {
  short(id) {
    respond(id, [['content-length', '5']]);
    send(DATA, id, 'abc');
    send(END, id);
  },
  long(id) {
    respond(id, [['content-length', '2']]);
    send(DATA, id, 'abc');
  },
  name: (id) => respond(id, [['x\u0000', 'v']]),
  value: (id) => respond(id, [['x', 'a\r\nset-cookie: b=1']]),
  status: (id) => respond(id, [], 101),
  length: (id) => respond(id, [['content-length', '+5']]),
  'fetch-long': (id) => fetch(id, { headers: [['content-length', '2']] }, 'abc'),
  'fetch-short': (id) => fetch(id, { headers: [['content-length', '4']] }, 'abc'),
  'fetch-name': (id) => fetch(id, { headers: [['content-length ', '2']] }),
  'fetch-line': (id) => fetch(id, { url: 'https://one.test/ HTTP/1.1\r\nx: y' }),
  'fetch-method': (id) => fetch(id, { method: 'GET /other' }),
  'fetch-stranger': (id) => {
    fetch(id + 2, {});
    callers.set(fetches - 2, id);
  },
  frame: () => socket.write(Buffer.alloc(12, 0xff)),
};

let held = Buffer.alloc(0);
socket.on('data', (chunk) => {
  held = Buffer.concat([held, chunk]);
  while (held.length >= 12 && held.length >= 12 + held.readUInt32LE()) {
    const [type, stream, length] = [held[4], held.readUInt32LE(8), held.readUInt32LE()];
    const payload = held.subarray(12, 12 + length).toString();
    held = held.subarray(12 + length);
    if (type === PING) send(PONG, 0);
    else if (type === LOAD) send(LOADED, 0, { name: JSON.parse(payload).name, version: JSON.parse(payload).version });
    else if (type === CALL) DEEDS[JSON.parse(payload).handler.split('.')[1]](stream);
    else if (type === ERROR) send(ERROR, callers.get(stream), payload);
  }
});
