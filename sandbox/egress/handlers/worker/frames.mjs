/** Frames on the socket to egress: sandbox/egress/handlers/codec.h is their description. */

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
export const BODY_WINDOW = 256 * 1024;
/** Largest DATA payload that is sent. */
export const CHUNK = 64 * 1024;

/** Writes one frame; payload: undefined, bytes, or what becomes JSON. */
export function send(socket, type, stream, payload) {
  const body =
    payload === undefined
      ? Buffer.alloc(0)
      : payload instanceof Uint8Array
        ? payload
        : Buffer.from(JSON.stringify(payload));
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt32LE(body.length, 0);
  head[4] = type;
  head.writeUInt32LE(stream, 8);
  if (socket.writableCorked === 0) {
    socket.cork(); // what one turn sends leaves in one system call
    process.nextTick(() => socket.uncork());
  }
  if (body.length < 4096) {
    socket.write(Buffer.concat([head, body]));
  } else {
    socket.write(head);
    socket.write(body);
  }
}

/** Calls onFrame(type, stream, payload) for every whole frame. */
export function reader(onFrame) {
  let held = Buffer.alloc(0);
  return (chunk) => {
    held = held.length ? Buffer.concat([held, chunk]) : chunk;
    let at = 0;
    while (held.length - at >= HEAD_BYTES) {
      const length = held.readUInt32LE(at);
      if (held.length - at - HEAD_BYTES < length) break;
      const payload = held.subarray(at + HEAD_BYTES, at + HEAD_BYTES + length);
      onFrame(held[at + 4], held.readUInt32LE(at + 8), payload);
      at += HEAD_BYTES + length;
    }
    held = held.subarray(at);
  };
}
