'use strict';
// How errors are shown: the user's frames only, with the positions of the user's text.

const util = require('node:util');

const RUNNER = __dirname;

/** Cells by the name that V8 knows their scripts by. */
const scripts = new Map(); // name -> {text, position(line, column)}
const SCRIPTS_MAX = 5000;

function register(name, script) {
  scripts.set(name, script);
  if (scripts.size > SCRIPTS_MAX) scripts.delete(scripts.keys().next().value);
}

/** A frame of the runner itself, or of what calls it. */
function isOurs(site) {
  const file = site.getFileName() ?? site.getScriptNameOrSourceURL?.() ?? '';
  return file.startsWith(RUNNER) || file === 'node:inspector' || file.startsWith('node:internal/async_local_storage/');
}

function frameText(site) {
  const text = site.toString();
  const name = site.getScriptNameOrSourceURL?.();
  const script = name && scripts.get(name);
  if (!script) return text;
  const written = `${name}:${site.getLineNumber()}:${site.getColumnNumber()}`;
  const at = text.lastIndexOf(written);
  if (at < 0) return text;
  const { line, column } = script.position(site.getLineNumber(), site.getColumnNumber());
  return `${text.slice(0, at)}${name}:${line}:${column}${text.slice(at + written.length)}`;
}

/** Error.prepareStackTrace: Node's own form without the runner's frames. */
function prepareStackTrace(error, trace) {
  let head;
  try {
    head = Error.prototype.toString.call(error);
  } catch {
    head = '<error>';
  }
  // what lies below the outermost cell called it: the runner, Node's inspector
  let last = trace.length;
  while (last > 0 && isOurs(trace[last - 1])) last--;
  const frames = [];
  for (let i = 0; i < last; i++) if (!trace[i].getFileName()?.startsWith(RUNNER)) frames.push(frameText(trace[i]));
  return frames.length ? `${head}\n    at ${frames.join('\n    at ')}` : head;
}

function install() {
  Error.prepareStackTrace = prepareStackTrace;
}

function nameOf(error) {
  try {
    if (error !== null && typeof error === 'object' && 'name' in error) return String(error.name || 'Error');
  } catch { /* a getter that throws */ }
  return 'Uncaught';
}

function messageOf(error) {
  try {
    if (error instanceof Error || (error !== null && typeof error === 'object' && 'message' in error)) return String(error.message);
  } catch { /* a getter that throws */ }
  return shown(error);
}

function shown(error) {
  try {
    return util.inspect(error, { depth: 3 });
  } catch {
    return '[error that cannot be shown]';
  }
}

/** The line and a caret below the place. */
function excerpt(name, text, line, column) {
  const source = text.split(/\r\n|[\n\r\u2028\u2029]/)[line - 1] ?? '';
  if (source.length > 500) return [`${name}:${line}:${column}`];
  return [`${name}:${line}`, source, `${' '.repeat(Math.max(0, column - 1))}^`, ''];
}

/** Content of an ERROR frame. */
function describe(error) {
  const isError = error instanceof Error || util.types.isNativeError(error);
  const text = isError ? errorText(error) : `Uncaught ${shown(error)}`;
  const lines = text.split('\n');
  if (error?.[SOURCE]) lines.unshift(...error[SOURCE]);
  return { ename: nameOf(error), evalue: messageOf(error).toWellFormed(), traceback: lines.map((l) => l.toWellFormed()) };
}

/** inspect puts an error without frames in brackets, as it would inside of an object. */
function errorText(error) {
  const text = shown(error);
  const plain = `${nameOf(error)}: ${messageOf(error)}`;
  return text === `[${plain}]` ? plain : text;
}

/** A module that could not be loaded: Node's own frames say nothing, the declaration's place does. */
function importFailed(error, name, { line, column }) {
  if (!(error instanceof Error)) return error;
  const [head, ...frames] = String(error.stack).split('\n    at ');
  const users = frames.filter((f) => !f.includes('node:internal/') && !f.includes('node:diagnostics_channel'));
  if (users.length === 0) error.stack = `${head}\n    at ${name}:${line}:${column}`;
  return error;
}

const SOURCE = Symbol('source');

/** Makes a SyntaxError show where in the cell it is. */
function locate(error, name, text, line, column) {
  Object.defineProperty(error, SOURCE, { value: excerpt(name, text, line, column), enumerable: false });
  error.stack = `${error.name}: ${error.message}`;
  return error;
}

/** Interruption of a cell. */
class Interrupted extends Error {
  constructor(message = 'the cell was interrupted', options = undefined) {
    super(message, options);
    this.stack = `${this.name}: ${message}`;
  }
}
Interrupted.prototype.name = 'Interrupted';

class OutOfMemoryError extends Error {
  constructor() {
    super('the heap of JavaScript reached its limit and the cell was stopped; what it had allocated is free again');
    this.stack = `${this.name}: ${this.message}`;
  }
}
OutOfMemoryError.prototype.name = 'OutOfMemoryError';

module.exports = { install, register, describe, locate, importFailed, Interrupted, OutOfMemoryError, shown };
