/** Bodies that stream over the socket, each way with a window. */
import { BODY_WINDOW, CHUNK, DATA, END, WINDOW, send } from './frames.mjs';

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
    if (this.#over) return;
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

  /** Resolves once the end is sent; rejects when the stream fails. */
  async run(stream) {
    this.#reader = stream.getReader();
    for (;;) {
      const { done, value } = await this.#reader.read();
      if (this.#cancelled) return;
      if (done) break;
      const bytes = typeof value === 'string' ? Buffer.from(value) : value;
      for (let at = 0; at < bytes.length; at += CHUNK) {
        await this.#room();
        if (this.#cancelled) return;
        const piece = bytes.subarray(at, at + CHUNK);
        this.#credit -= piece.length;
        send(this.#socket, DATA, this.#id, piece);
      }
    }
    send(this.#socket, END, this.#id);
  }
}
