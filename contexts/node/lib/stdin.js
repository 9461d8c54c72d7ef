'use strict';
// prompt(), confirm(), alert() and process.stdin over STDIN and INPUT frames.

const { Readable } = require('node:stream');
const protocol = require('./protocol');

const PROMPT_MAX = 60_000; // code units, of up to six bytes each as JSON; the protocol carries a question of 1 MiB
const REFUSED = 'input was asked for, but this frontend does not support input requests';

class StdinNotImplementedError extends Error {
  constructor() {
    super(REFUSED);
    this.name = 'StdinNotImplementedError';
  }
}

class Stdin {
  /** runner: {current, take(message), interrupt(): throws} */
  constructor(runner) {
    this.runner = runner;
    this.waiting = null; // {req, answer(value or null)}
    this.stream = null;
  }

  install(target) {
    const define = (name, value) => Object.defineProperty(target, name, { value, writable: true, configurable: true, enumerable: false });
    define('prompt', (message = 'Prompt', initial) => this.prompt(message, initial));
    define('confirm', (message = 'Confirm') => this.confirm(message));
    define('alert', (message = 'Alert') => this.alert(message));
    Object.defineProperty(process, 'stdin', { configurable: true, enumerable: true, get: () => (this.stream ??= this.makeStream()) });
  }

  /** An INPUT frame; stale ones find nobody waiting. */
  deliver(req, arg, value) {
    const waiting = this.waiting;
    if (!waiting || waiting.req !== req) return;
    this.waiting = null;
    waiting.answer(arg ? null : value ?? '');
  }

  request(prompt, password, answer) {
    const cell = this.runner.current;
    if (!cell?.allowStdin || this.waiting) throw new StdinNotImplementedError();
    this.waiting = { req: cell.req, answer };
    protocol.send(protocol.STDIN, 0, cell.req, [JSON.stringify({ prompt: String(prompt).slice(-PROMPT_MAX), password })]);
  }

  /** One line, blocking; other frames are put aside or answered meanwhile. */
  ask(prompt, password = false) {
    let line;
    this.request(prompt, password, (value) => { line = value; });
    try {
      while (line === undefined) {
        const message = protocol.native.receive();
        if (message === null) this.runner.interruptHere();
        else this.runner.take(message);
      }
    } finally {
      this.waiting = null;
    }
    if (line === null) throw new StdinNotImplementedError();
    return line;
  }

  prompt(message, initial) {
    const line = this.ask(initial === undefined ? `${message} ` : `${message} [${initial}] `);
    return line === '' && initial !== undefined ? String(initial) : line;
  }

  confirm(message) {
    const line = this.ask(`${message} [y/N] `).trim().toLowerCase();
    return line === 'y' || line === 'yes';
  }

  alert(message) {
    this.ask(`${message} [Enter] `);
  }

  /** Asks when somebody reads; a reader that went away in the meantime is not asked for. */
  makeStream() {
    const stdin = this;
    let asked = false;
    const stream = new Readable({
      highWaterMark: 0,
      read() {
        if (asked) return;
        asked = true;
        setImmediate(() => {
          asked = false;
          if (stream.isPaused() || (!stream.readableFlowing && !stream.listenerCount('readable'))) return;
          try {
            stdin.request('', false, (value) => stream.push(value === null ? null : `${value}\n`));
          } catch {
            stream.push(null);
          }
        });
      },
    });
    stream.fd = 0;
    stream.setRawMode = undefined;
    stream.ref = stream.unref = () => stream;
    return stream;
  }
}

module.exports = { Stdin };
