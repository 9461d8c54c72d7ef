'use strict';
// Type checks, and the language service for what no object can tell. The service costs some 90 MiB
// and a second to start: it is started by the first request that needs it and goes after a while.

const path = require('node:path');
const modules = require('./modules');

const MIME = 'application/vnd.cellbox.diagnostics+json';
const IDLE_MS = 10 * 60 * 1000;
const CELLS_MAX = 1000;

class Types {
  constructor() {
    this.cells = []; // [name, text] of all cells so far
    this.worker = null;
    this.waiting = new Map(); // id -> resolve
    this.last = 0;
  }

  /** A cell has begun: what it declares is known to later ones. */
  add(name, text) {
    this.cells.push([name, text]);
    if (this.cells.length > CELLS_MAX) this.cells.shift();
    this.worker?.postMessage({ kind: 'cell', name, text });
  }

  get running() { return this.worker !== null; }

  start() {
    if (this.worker) return;
    const { Worker } = require('node:worker_threads');
    const worker = new Worker(path.join(__dirname, 'service.js'), {
      workerData: { cwd: modules.cwd() }, execArgv: [], stdin: false, stdout: false, stderr: false, env: { PATH: process.env.PATH },
    });
    this.worker = worker;
    worker.unref();
    worker.on('message', ({ id, found }) => {
      this.waiting.get(id)?.(found);
      this.waiting.delete(id);
    });
    const gone = () => {
      if (this.worker === worker) this.worker = null;
      for (const resolve of this.waiting.values()) resolve([]);
      this.waiting.clear();
    };
    worker.on('error', gone);
    worker.on('exit', gone);
    for (const [name, text] of this.cells) worker.postMessage({ kind: 'cell', name, text });
  }

  post(message) {
    this.start();
    this.worker.postMessage({ cwd: modules.cwd(), ...message });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.worker?.terminate(), IDLE_MS).unref();
  }

  /** Diagnostics of a cell that is about to run; a promise. */
  check(name, text, mode) {
    const id = ++this.last;
    return new Promise((resolve) => {
      this.waiting.set(id, resolve);
      this.post({ kind: 'check', id, name, text, mode });
    });
  }
}

/** The bundle that shows diagnostics. */
function bundle(found) {
  const lines = found.map((d) => `${d.file}:${d.start.line}:${d.start.column} - ${d.category} TS${d.code}: ${d.message}`);
  return { [MIME]: { diagnostics: found }, 'text/plain': lines.join('\n') };
}

class TypeCheckError extends Error {
  constructor(found) {
    const wrong = found.filter((d) => d.category === 'error');
    const { 'text/plain': text } = bundle(wrong);
    super(wrong.length === 1 ? wrong[0].message : `${wrong.length} type errors\n${text}`);
    const places = wrong.map((d) => `    at ${d.file}:${d.start.line}:${d.start.column}`);
    this.stack = `TypeCheckError: ${this.message}\n${places.join('\n')}`;
  }
}
TypeCheckError.prototype.name = 'TypeCheckError';

/** "warn", "error" or undefined. */
function mode(options) {
  const wanted = options.typecheck ?? process.env.CELLBOX_TYPECHECK;
  return wanted === 'warn' || wanted === 'error' ? wanted : undefined;
}

module.exports = { Types, TypeCheckError, bundle, mode };
