/** Bodies that stream over the socket, each way with a window. */
import { BODY_WINDOW, CHUNK, DATA, END, WINDOW, send } from './frames.mjs';

const YES = Buffer.of(1);

/** A chunk as a Buffer: modules have a Uint8Array of their own realm. */
function bytesOf(value) {
  if (typeof value === 'string') return Buffer.from(value);
  if (!ArrayBuffer.isView(value)) throw new TypeError('a body is made of Uint8Arrays');
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
}

/** A body that comes in: a ReadableStream to hand on, fed by `push`, `end` and `fail`. */
export class Incoming {
  #socket;
  #id;
  #controller;
  #owed = 0;
  #over = false;

  constructor(socket, id, onCancel) {
    this.#socket = socket;
    this.#id = id;
    this.stream = new ReadableStream(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: () => this.#grant(),
        cancel: () => {
          this.#over = true;
          onCancel();
        },
        type: 'bytes',
      },
      { highWaterMark: BODY_WINDOW / 2 },
    );
  }

  #grant() {
    if (!this.#owed || this.#over) return;
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(this.#owed);
    this.#owed = 0;
    send(this.#socket, WINDOW, this.#id, bytes);
  }

  push(payload) {
    if (this.#over || !payload.length) return; // a byte stream takes no empty chunk
    this.#owed += payload.length;
    this.#controller.enqueue(new Uint8Array(payload));
    if (this.#controller.desiredSize > 0) this.#grant();
  }

  end() {
    if (this.#over) return;
    this.#over = true;
    this.#controller.close();
    this.#controller.byobRequest?.respond(0);
  }

  fail(error) {
    if (this.#over) return;
    this.#over = true;
    this.#controller.error(error);
  }
}

/** A body that goes out: `run` sends a ReadableStream as the window allows. */
export class Outgoing {
  #socket;
  #id;
  #credit = BODY_WINDOW;
  #wake = null;
  #cancelled = false;
  #reader = null;
  #reason;

  constructor(socket, id) {
    this.#socket = socket;
    this.#id = id;
  }

  window(bytes) {
    this.#credit += bytes;
    this.#wake?.();
  }

  cancel(reason) {
    this.#cancelled = true;
    this.#reason = reason;
    this.#wake?.();
    this.#reader?.cancel(reason).catch(() => {});
  }

  async #room() {
    while (this.#credit <= 0 && !this.#cancelled) {
      await new Promise((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = null;
    }
  }

  /**
   * Resolves once the end is sent or nobody wants it any more; rejects when the stream fails. goesOn: whether more
   * belongs to the call than its answer, asked at the end.
   */
  async run(stream, goesOn = () => false) {
    this.#reader = stream.getReader();
    if (this.#cancelled) {
      this.cancel(this.#reason);
      return;
    }
    for (;;) {
      const { done, value } = await this.#reader.read();
      if (this.#cancelled) return;
      if (done) break;
      const bytes = bytesOf(value);
      for (let at = 0; at < bytes.length; at += CHUNK) {
        await this.#room();
        if (this.#cancelled) return;
        const piece = bytes.subarray(at, at + CHUNK);
        this.#credit -= piece.length;
        send(this.#socket, DATA, this.#id, piece);
      }
    }
    send(this.#socket, END, this.#id, goesOn() ? YES : undefined);
  }
}
