/** Handler modules: compiled from source, without imports, with web globals alone. */
import vm from 'node:vm';
import { AsyncLocalStorage } from 'node:async_hooks';
import { inspect } from 'node:util';

/** How long a module may take to load, its top-level await included; in milliseconds. */
const LOAD_MS = 5000;
/** The same for what runs without letting others run. */
const LOAD_SYNC_MS = 2000;
const LINE_MAX = 500;

/** The call that code runs for; its fetch is the global one. */
export const current = new AsyncLocalStorage();

const modules = new Map();
/** name -> the last load or unload of it, which the next one waits for. */
const pending = new Map();

const SHARED = [
  'Request', 'Response', 'Headers', 'FormData', 'Blob', 'File', 'URL', 'URLSearchParams', 'TextEncoder', 'TextDecoder',
  'TextEncoderStream', 'TextDecoderStream', 'ReadableStream', 'WritableStream', 'TransformStream', 'CompressionStream',
  'DecompressionStream', 'ByteLengthQueuingStrategy', 'CountQueuingStrategy', 'AbortController', 'AbortSignal', 'Event',
  'EventTarget', 'DOMException', 'crypto', 'performance', 'structuredClone', 'queueMicrotask', 'setTimeout', 'clearTimeout',
  'setInterval', 'clearInterval', 'atob', 'btoa',
];

function describe(value) {
  if (typeof value === 'string') return value;
  try {
    return inspect(value, { depth: 3, customInspect: false, breakLength: Infinity, maxArrayLength: 20, maxStringLength: LINE_MAX });
  } catch {
    return '(a value that cannot be shown)';
  }
}

/** Timers and counters of a console would need a state that nobody asks for here: they do nothing. */
function consoleFor(name, log) {
  const print = (...values) => log(`${name}: ${values.map(describe).join(' ')}`.slice(0, LINE_MAX));
  const nothing = () => {};
  return {
    log: print, info: print, warn: print, error: print, debug: print, trace: print, dir: print, table: print, group: print,
    groupEnd: nothing, time: nothing, timeEnd: nothing, timeLog: nothing, count: nothing, countReset: nothing, clear: nothing,
    assert: (condition, ...values) => {
      if (!condition) print('Assertion failed', ...values);
    },
  };
}

function globalsFor(name, log) {
  const fetch = (...args) => {
    const call = current.getStore();
    if (!call) return Promise.reject(new TypeError('fetch is only possible while a request is handled'));
    return call.fetch(...args);
  };
  const shared = SHARED.filter((key) => globalThis[key] !== undefined).map((key) => [key, globalThis[key]]);
  return { ...Object.fromEntries(shared), fetch, console: consoleFor(name, log) };
}

/** Does the error say more than that the source ends too early? */
function isWrong(source) {
  try {
    new vm.SourceTextModule(source);
    return false;
  } catch (error) {
    return !/end of input|Unterminated|missing \)/i.test(error.message);
  }
}

/**
 * Where a module does not parse: V8 keeps that from the error of a SourceTextModule, so the shortest run of lines is
 * looked for that cannot be completed to something that parses.
 */
function lineOf(source) {
  const lines = source.split('\n');
  let low = 1;
  let high = lines.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isWrong(lines.slice(0, middle).join('\n'))) high = middle;
    else low = middle + 1;
  }
  return `line ${low}: `;
}

function compile(name, source, context) {
  const noImport = (specifier) => {
    throw new Error(`a handler imports nothing: ${specifier}`);
  };
  try {
    const options = { context, identifier: `${name}.mjs`, importModuleDynamically: noImport };
    return { module: new vm.SourceTextModule(source, options), noImport };
  } catch (error) {
    throw new Error(`${lineOf(source)}${error.message}`);
  }
}

async function evaluate(module) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`it did not finish loading in ${LOAD_MS / 1000} s`)), LOAD_MS);
  });
  try {
    await Promise.race([module.evaluate({ timeout: LOAD_SYNC_MS }), late]);
  } finally {
    clearTimeout(timer);
  }
}

async function loadNow({ name, version, source, env }, log) {
  const context = vm.createContext(globalsFor(name, log), { name, codeGeneration: { strings: false, wasm: false } });
  const { module, noImport } = compile(name, source, context);
  await module.link(noImport);
  await evaluate(module);
  const main = module.namespace.default;
  if (typeof main !== 'function' && (typeof main !== 'object' || main === null))
    throw new Error('the default export must be a handler, or {outbound, outboundByHost, outboundHandlers}');
  modules.set(name, { version, main, env: Object.freeze({ ...env }) });
}

function inTurn(name, step) {
  const mine = (pending.get(name) ?? Promise.resolve()).then(step);
  const settled = mine.catch(() => {}).then(() => {
    if (pending.get(name) === settled) pending.delete(name);
  });
  pending.set(name, settled);
  return mine;
}

/** Compiles a version; rejects with a message that names the line. Loads of one name follow each other. */
export function load(o, log) {
  return inTurn(o.name, () => loadNow(o, log));
}

export function unload(name) {
  return inTurn(name, () => {
    modules.delete(name);
  });
}

/** `*` is any sequence. */
function hostFits(pattern, host) {
  const escaped = pattern.toLowerCase().split('*').map((s) => s.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${escaped.join('.*')}$`).test(host);
}

/** An exact name comes before patterns, wherever it stands. */
function byHost(table, url) {
  const host = new URL(url).hostname.replace(/\.$/, '');
  const entries = Object.entries(table ?? {});
  return (entries.find(([name]) => name.toLowerCase() === host) ?? entries.find(([pattern]) => hostFits(pattern, host)))?.[1];
}

const isClass = (f) => /^class\b/.test(Function.prototype.toString.call(f));

/** "module" or "module.handler" -> {handler, env}. */
export async function find(path, url) {
  const dot = path.indexOf('.');
  const name = dot < 0 ? path : path.slice(0, dot);
  if (!modules.has(name)) await pending.get(name); // after a start, requests come before modules are ready
  const module = modules.get(name);
  if (!module) throw new Error('the module is not loaded');
  const { main, env } = module;
  if (dot >= 0) {
    const key = path.slice(dot + 1);
    const table = main.outboundHandlers;
    const handler = table && Object.hasOwn(table, key) ? table[key] : undefined;
    if (typeof handler !== 'function') throw new Error(`outboundHandlers has no ${key}`);
    return { handler, env };
  }
  const handler = byHost(main.outboundByHost, url) ?? main.outbound ?? (typeof main === 'function' && !isClass(main) ? main : undefined);
  if (typeof handler !== 'function') throw new Error('no handler of the module is for this host');
  return { handler, env };
}
