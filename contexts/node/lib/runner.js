'use strict';
// The life of a context: one request after another; between them Node's event loop.

const { AsyncLocalStorage } = require('node:async_hooks');
const protocol = require('./protocol');
const { Cell, Names, waitEach } = require('./cell');
const { Comms } = require('./comms');
const { Display, DisplayHandle } = require('./display');
const { History } = require('./history');
const { Stdin } = require('./stdin');
const { collectLater } = require('./idle');
const errors = require('./errors');
const evaluate = require('./evaluate');
const mime = require('./mime');
const modules = require('./modules');
const output = require('./output');
const types = require('./types');

const { native, STATUS, EVENTS } = protocol;

/** Thrown on purpose: Node then puts right what a terminated callback left of its own records. */
const SETTLE = Symbol('settle');

class Runner {
  constructor() {
    this.language = 'javascript';
    this.announced = null;
    this.current = null; // the cell that runs
    this.queue = []; // messages of the main lane that wait for it
    this.busy = false;
    this.storage = new AsyncLocalStorage();
    this.requestOf = () => this.storage.getStore()?.req ?? this.current?.req ?? 0;
    this.cells = new Map(); // of cells that may still call back
    this.names = new Names();
    this.history = new History();
    this.comms = new Comms(this.requestOf);
    this.display = new Display(this.requestOf);
    this.stdin = new Stdin(this);
    this.types = new types.Types();
    this.count = 0;
    this.leaving = false;
  }

  // Frames

  /** busy: JavaScript of a cell was stopped for it, and nothing but an answer may be done. */
  take(message, busy = false) {
    if (message === null) {
      this.leave();
      return;
    }
    const [type, arg, req, interrupted, ...sections] = message;
    switch (type) {
      case protocol.INPUT: this.stdin.deliver(req, arg, sections[0]); return;
      case protocol.SHUTDOWN: this.leave(); return;
      case protocol.COMPLETE: case protocol.INSPECT: case protocol.IS_COMPLETE:
      case protocol.HISTORY: case protocol.COMM_INFO:
        this.answer(type, req, sections, busy);
        return;
    }
    if (this.busy) this.queue.push(message);
    else this.dispatch(type, req, interrupted, sections);
  }

  dispatch(type, req, interrupted, sections) {
    this.busy = true;
    if (interrupted) {
      this.finish(req, this.failureContent(new errors.Interrupted(), { req }), STATUS.FAILED);
      return;
    }
    try {
      switch (type) {
        case protocol.EXECUTE: this.execute(req, JSON.parse(sections[0]), sections[1]); break;
        case protocol.SETUP: this.setup(req, JSON.parse(sections[0])); break;
        case protocol.WARMUP: require('./warmup').run(this).finally(() => this.finish(req, { status: 'ok' })); break;
        case protocol.COMM: this.comm(req, sections); break;
        default: throw new Error(`unknown request ${type}`);
      }
    } catch (e) {
      this.finish(req, { status: 'error', ...errors.describe(e) }, STATUS.FAILED);
    }
  }

  /** Ends the request of the main lane and takes the next one. */
  finish(req, content, status = STATUS.OK) {
    protocol.done(req, content, status);
    this.busy = false;
    const next = this.queue.shift();
    if (next) {
      const [type, , nextReq, interrupted, ...sections] = next;
      this.dispatch(type, nextReq, interrupted, sections);
    }
  }

  leave() {
    if (this.leaving) return;
    this.leaving = true;
    process.exit(0);
  }

  // Requests that are answered while a cell runs; also in the middle of its JavaScript.

  answer(type, req, sections, busy) {
    let content;
    try {
      const options = JSON.parse(sections[0]);
      switch (type) {
        case protocol.COMPLETE:
          content = require('./complete').complete(this, sections[1], options.cursor_pos);
          if (!content.matches.length && this.askTypes('complete', req, sections[1], options, busy)) return;
          break;
        case protocol.INSPECT:
          content = require('./inspect').inspect(this, sections[1], options.cursor_pos, options.detail_level ?? 0);
          if (!content.found && this.askTypes('inspect', req, sections[1], options, busy)) return;
          break;
        case protocol.IS_COMPLETE: content = require('./complete').isComplete(this.language, sections[1]); break;
        case protocol.HISTORY: content = { status: 'ok', history: this.history.answer(options) }; break;
        default: content = this.comms.info(options.target_name);
      }
      protocol.done(req, content);
    } catch (e) {
      protocol.done(req, { status: 'error', ...errors.describe(e) }, STATUS.FAILED);
    }
  }

  /** What no object tells, types may: then the language service answers. False: it cannot. */
  askTypes(kind, req, code, options, busy) {
    if (this.language !== 'typescript' || (busy && !this.types.running)) return false;
    this.types.post({ kind, req, code, cursor: options.cursor_pos });
    return true;
  }

  // Setup

  setup(req, options) {
    for (const [name, value] of Object.entries(options.env ?? {})) {
      if (value === null) delete process.env[name];
      else process.env[name] = value;
    }
    if (options.cwd) process.chdir(options.cwd);
    this.session = options.session;
    if (options.language) {
      this.language = options.language;
      protocol.send(protocol.HELLO, 0, 0, [JSON.stringify(require('./hello').hello(this.language))]);
    }
    this.finish(req, { status: 'ok' });
  }

  comm(req, [head, content, metadata, ...buffers]) {
    const { msg_type: kind } = JSON.parse(head);
    const owner = { req };
    this.storage.run(owner, () => {
      let result;
      try {
        result = this.comms.receive(kind, JSON.parse(content), JSON.parse(metadata), buffers);
      } catch (e) {
        this.report(e);
      }
      Promise.resolve(result).catch((e) => this.report(e)).finally(() => this.finish(req, {}));
    });
  }

  // Cells

  execute(req, options, text) {
    const cell = new Cell(req, text, options, this.language);
    if (cell.count !== undefined) this.count = cell.count;
    this.current = cell;
    this.cells.set(req, cell);
    if (cell.store) cell.entry = this.history.add(cell.count, text);
    cell.environment = applyEnvironment(options.env);
    if (this.language === 'typescript') this.prepareTypes(cell);
    this.runCell(cell, (failure) => this.ended(cell, failure));
  }

  prepareTypes(cell) {
    const mode = types.mode(cell.options);
    if (mode) cell.check = this.types.check(cell.name, cell.text, mode);
    else this.types.add(cell.name, cell.text);
    cell.checkFirst = mode === 'error';
  }

  /** Shows what a type check has found; true if the cell must not run for it. */
  showTypes(cell, found) {
    cell.check = undefined;
    if (found.length && !cell.answered) this.display.send(protocol.DISPLAY, types.bundle(found), {}, undefined, cell.req);
    return found.some((d) => d.category === 'error');
  }

  runCell(cell, then) {
    native.begin(cell.req);
    if (cell.checkFirst) {
      cell.checkFirst = false;
      const interrupted = new Promise((resolve, reject) => { cell.rejectWait = reject; });
      Promise.race([cell.check, interrupted]).then((found) => {
        cell.rejectWait = null;
        if (this.showTypes(cell, found)) then({ value: new types.TypeCheckError(found) });
        else if (!cell.answered) this.runCell(cell, then);
      }, (e) => then({ value: e }));
      return;
    }
    const returned = native.guard(() => this.storage.run(cell, () => cell.run(this.names, then)));
    if (!returned) this.onEvents(native.take() | EVENTS.TERMINATED);
  }

  /** The script has ended, or was given up. */
  ended(cell, failure) {
    if (cell.finished) return;
    cell.finished = true;
    cell.rejectWait = null;
    if (cell.check && !(failure?.value instanceof errors.Interrupted)) {
      cell.check.then((found) => {
        this.showTypes(cell, found);
        this.conclude(cell, failure);
      });
      return;
    }
    this.conclude(cell, failure);
  }

  conclude(cell, failure) {
    if (cell.answered) return;
    if (failure) {
      this.fail(cell, this.interruptOf(failure.value));
      return;
    }
    this.storage.run(cell, () => {
      let data;
      const show = cell.hasValue && cell.value !== undefined && !cell.silent && !(cell.value instanceof DisplayHandle);
      if (show) data = mime.bundle(cell.value);
      if (data instanceof Promise) {
        data.then((d) => this.succeed(cell, d), (e) => this.fail(cell, e));
      } else {
        this.succeed(cell, data);
      }
    });
  }

  succeed(cell, data) {
    if (cell.answered) return;
    if (data) {
      const failed = 'application/vnd.cellbox.display-error';
      if (failed in data) {
        process.stderr.write(`display: ${data[failed]}\n`);
        delete data[failed];
      }
      protocol.send(protocol.RESULT, 0, cell.req, [mime.encode(data), '{}']);
      if (cell.entry) cell.entry.output = data['text/plain'] ?? null;
    }
    if (cell.hasValue && cell.store) this.remember(cell);
    const values = this.userExpressions(cell.options.user_expressions);
    this.close(cell, { status: 'ok', user_expressions: values, payload: [] }, STATUS.OK);
  }

  /** An interrupt that came while a blocking call failed by it (its child got the signal, too). */
  interruptOf(error) {
    if (!native.interrupted() || error instanceof errors.Interrupted) return error;
    const events = native.take();
    return events & (EVENTS.INTERRUPT | EVENTS.PLAIN) ? new errors.Interrupted(undefined, { cause: error }) : error;
  }

  fail(cell, error) {
    if (cell.answered) return;
    this.close(cell, this.failureContent(error, cell), STATUS.FAILED);
  }

  failureContent(error, cell) {
    const described = errors.describe(error);
    if (cell) protocol.send(protocol.ERROR, 0, cell.req, [JSON.stringify(described)]);
    if (cell?.store) this.lastError = error;
    return { status: 'error', ...described, user_expressions: {}, payload: [] };
  }

  close(cell, content, status) {
    cell.answered = true;
    this.cells.delete(cell.req);
    native.end();
    evaluate.release('cell');
    cell.environment?.();
    this.current = null;
    cell.value = undefined;
    this.finish(cell.req, content, status);
  }

  userExpressions(expressions) {
    const values = {};
    for (const [name, expression] of Object.entries(expressions ?? {})) {
      const value = this.evaluateNow(expression);
      values[name] = value.error
        ? { status: 'error', ...errors.describe(value.error) }
        : { status: 'ok', data: mime.bundle(value.value), metadata: {} };
    }
    return values;
  }

  evaluateNow(expression) {
    try {
      return { value: (0, eval)(expression) };
    } catch (error) {
      return { error };
    }
  }

  /** `_` is the last value, unless the user took the name. */
  remember(cell) {
    if (cell.value === undefined) return;
    const value = cell.value;
    const own = Object.getOwnPropertyDescriptor(globalThis, '_');
    if (own && !own.get?.[REMEMBERED]) return;
    const get = () => value;
    get[REMEMBERED] = true;
    Object.defineProperty(globalThis, '_', {
      configurable: true,
      enumerable: false,
      get,
      set(v) { Object.defineProperty(globalThis, '_', { value: v, writable: true, configurable: true, enumerable: true }); },
    });
  }

  // Interrupts, and what goes wrong outside of cells

  onEvents(events) {
    if (!events) return;
    const cell = this.current;
    const listened = process.listenerCount('SIGINT') > 0;
    if (events & EVENTS.TERMINATED) setImmediate(() => { throw SETTLE; });
    if (events & EVENTS.HEAP) {
      if (cell) this.stop(cell, new errors.OutOfMemoryError(), true);
      else process.stderr.write('JavaScript heap out of memory: code that ran after its cell was stopped\n');
    } else if ((events & (EVENTS.INTERRUPT | EVENTS.PLAIN)) && listened && !(events & EVENTS.TERMINATED)) {
      process.emit('SIGINT', 'SIGINT', 2);
    } else if ((events & (EVENTS.INTERRUPT | EVENTS.PLAIN)) && cell) {
      this.stop(cell, new errors.Interrupted(), (events & EVENTS.TERMINATED) !== 0);
    }
  }

  /** Rejects the pending await; a cell whose code was terminated, or has no await to reject, ends. */
  stop(cell, error, terminated) {
    const reject = cell.rejectWait;
    cell.rejectWait = null;
    reject?.(error);
    if (terminated || !reject) {
      if (cell.finished) this.fail(cell, error);
      else this.ended(cell, { value: error });
    }
  }

  /** In a blocking call of a cell: takes the interrupt and becomes its error. */
  interruptHere() {
    const events = native.take();
    if (!events) this.leave();
    if (events & (EVENTS.INTERRUPT | EVENTS.PLAIN)) throw new errors.Interrupted();
  }

  report(error) {
    const described = errors.describe(error);
    process.stderr.write(`${described.traceback.join('\n')}\n`);
  }

  /** Exceptions and rejections that nobody catches: told, and the context lives on. */
  onUncaught(error) {
    if (error === SETTLE) return;
    if (process.listenerCount('uncaughtException') > 0) {
      process.emit('uncaughtException', error, 'uncaughtException');
      return;
    }
    const described = errors.describe(error);
    const head = described.traceback[0]?.startsWith('Uncaught') ? '' : 'Uncaught ';
    process.stderr.write(`${head}${described.traceback.join('\n')}\n`);
  }

  // What cells see

  installGlobals() {
    const runner = this;
    output.install(this.requestOf);
    errors.install();
    modules.installGlobals(globalThis);
    this.stdin.install(globalThis);
    const display = this.display.api();
    const define = (name, value) => Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });
    define('display', display);
    define('Jupyter', { display, comms: this.comms.api() });
    const hidden = {
      wait: (value) => (runner.storage.getStore()?.wait ? runner.storage.getStore().wait(value) : value),
      waitEach: (iterable) => {
        const cell = runner.storage.getStore();
        return cell?.wait ? waitEach(cell, iterable) : iterable;
      },
      import: modules.load,
      meta: modules.meta,
      result: (req, value) => runner.cells.get(req)?.setValue(value),
      caught: evaluate.keep,
      bound: undefined,
      constant: new Proxy(Object.create(null), {
        get(target, name) { throw new TypeError(`Assignment to constant variable '${String(name)}'.`); },
        set(target, name) { throw new TypeError(`Assignment to constant variable '${String(name)}'.`); },
      }),
    };
    Object.defineProperty(globalThis, '__cellbox', { value: hidden, enumerable: false });
  }

  start() {
    this.installGlobals();
    process.execArgv.length = 0; // children are plain Node
    process.argv.length = 1;
    process.title = 'cbx-node';
    require('./signals').install();
    process.setUncaughtExceptionCaptureCallback((error) => this.onUncaught(error));
    collectLater(() => this.busy);
    native.attach((m) => this.take(m), (events) => this.onEvents(events), (m) => this.take(m, true));
  }
}

const REMEMBERED = Symbol('remembered');

/** Sets variables for one cell; returns what puts them back. */
function applyEnvironment(changes) {
  if (!changes || !Object.keys(changes).length) return undefined;
  const before = Object.fromEntries(Object.keys(changes).map((name) => [name, process.env[name]]));
  Object.assign(process.env, changes);
  return () => {
    for (const [name, value] of Object.entries(before)) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  };
}

module.exports = { Runner };
