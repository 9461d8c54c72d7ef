'use strict';
// Comms: what a program in the browser and one in the context tell each other (ipywidgets' channel).

const { newId } = require('./ids');
const protocol = require('./protocol');

class Comm {
  #comms;

  constructor(comms, id, target) {
    this.#comms = comms;
    this.id = id;
    this.target = target;
    this.onMessage = null;
    this.onClose = null;
    this.closed = false;
  }

  send(data = {}, { metadata = {}, buffers = [] } = {}) {
    if (this.closed) throw new Error('the comm is closed');
    this.#comms.emit('comm_msg', { comm_id: this.id, data }, metadata, buffers);
  }

  close(data = {}) {
    if (this.closed) return;
    this.closed = true;
    this.#comms.open.delete(this.id);
    this.#comms.emit('comm_close', { comm_id: this.id, data }, {}, []);
  }
}

class Comms {
  constructor(requestOf) {
    this.requestOf = requestOf;
    this.targets = new Map();
    this.open = new Map();
  }

  emit(kind, content, metadata, buffers) {
    const sections = [JSON.stringify({ msg_type: kind }), JSON.stringify(content), JSON.stringify(metadata)];
    for (const b of buffers) sections.push(ArrayBuffer.isView(b) ? Buffer.from(b.buffer, b.byteOffset, b.byteLength) : Buffer.from(b));
    protocol.send(protocol.COMM_OUT, 0, this.requestOf(), sections);
  }

  api() {
    return {
      register: (target, onOpen) => { this.targets.set(String(target), onOpen); },
      unregister: (target) => { this.targets.delete(String(target)); },
      create: (target, data = {}, { metadata = {}, buffers = [], id = newId() } = {}) => {
        const comm = new Comm(this, id, String(target));
        this.open.set(id, comm);
        this.emit('comm_open', { comm_id: id, target_name: comm.target, data }, metadata, buffers);
        return comm;
      },
      get: (id) => this.open.get(id),
    };
  }

  info(target) {
    const comms = {};
    for (const [id, comm] of this.open) if (!target || comm.target === target) comms[id] = { target_name: comm.target };
    return { status: 'ok', comms };
  }

  /** A message of a client. */
  receive(kind, content, metadata, buffers) {
    const id = content.comm_id;
    const message = { data: content.data ?? {}, metadata, buffers };
    if (kind === 'comm_open') {
      const comm = new Comm(this, id, content.target_name);
      const onOpen = this.targets.get(content.target_name);
      if (!onOpen) {
        comm.close();
        return undefined;
      }
      this.open.set(id, comm);
      return onOpen(comm, message);
    }
    const comm = this.open.get(id);
    if (!comm) return undefined;
    if (kind === 'comm_msg') return comm.onMessage?.(message);
    this.open.delete(id);
    comm.closed = true;
    return comm.onClose?.(message);
  }
}

module.exports = { Comms };
