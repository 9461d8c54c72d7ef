/** Handler modules: compiled from source, without imports, with web globals alone. */
import vm from 'node:vm';
import { AsyncLocalStorage } from 'node:async_hooks';

/** The call that code runs for; its fetch is the global one. */
export const current = new AsyncLocalStorage();

const modules = new Map();

function globalsFor(name, log) {
  const print = (...values) => log(`${name}: ${values.map((v) => (typeof v === 'string' ? v : JSON.stringify(v))).join(' ')}`);
  const fetch = (...args) => {
    const call = current.getStore();
    if (!call) return Promise.reject(new TypeError('fetch is only possible while a request is handled'));
    return call.fetch(...args);
  };
  return {
    fetch, Request, Response, Headers, FormData, Blob, URL, URLSearchParams, TextEncoder, TextDecoder,
    ReadableStream, WritableStream, TransformStream, CompressionStream, DecompressionStream,
    AbortController, AbortSignal, Event, EventTarget, DOMException, crypto, performance, structuredClone,
    queueMicrotask, setTimeout, clearTimeout, setInterval, clearInterval, atob, btoa,
    console: { log: print, info: print, warn: print, error: print, debug: print },
  };
}

/**
 * Where a module does not parse: V8 keeps that from the error of a SourceTextModule, so lines are taken until the
 * message is another one than that of a source that merely ends too early.
 */
function lineOf(source) {
  const lines = source.split('\n');
  for (let n = 1; n <= lines.length; n++) {
    try {
      new vm.SourceTextModule(lines.slice(0, n).join('\n'));
    } catch (error) {
      if (!/end of input|Unterminated|missing \)/i.test(error.message)) return `line ${n}: `;
    }
  }
  return `line ${lines.length}: `;
}

/** Compiles a version; throws with a message that names the line. */
export async function load({ name, version, source, env }, log) {
  const context = vm.createContext(globalsFor(name, log), {
    name,
    codeGeneration: { strings: false, wasm: false },
  });
  let module;
  try {
    module = new vm.SourceTextModule(source, {
      context,
      identifier: `${name}.mjs`,
      importModuleDynamically: (specifier) => {
        throw new Error(`a handler imports nothing: ${specifier}`);
      },
    });
  } catch (error) {
    throw new Error(`${lineOf(source)}${error.message}`);
  }
  await module.link((specifier) => {
    throw new Error(`a handler imports nothing: ${specifier}`);
  });
  await module.evaluate({ timeout: 2000 });
  const main = module.namespace.default;
  if (typeof main !== 'function' && (typeof main !== 'object' || main === null))
    throw new Error('the default export must be a handler, or {outbound, outboundByHost, outboundHandlers}');
  modules.set(name, { version, main, env: Object.freeze({ ...env }) });
}

export function unload(name) {
  modules.delete(name);
}

/** `*` is any sequence. */
function hostFits(pattern, host) {
  const escaped = pattern.toLowerCase().split('*').map((s) => s.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${escaped.join('.*')}$`).test(host);
}

/** "module" or "module.handler" -> {handler, env}. */
export function find(path, url) {
  const dot = path.indexOf('.');
  const module = modules.get(dot < 0 ? path : path.slice(0, dot));
  if (!module) throw new Error('the module is not loaded');
  const { main, env } = module;
  if (dot >= 0) {
    const name = path.slice(dot + 1);
    const handler = main.outboundHandlers?.[name];
    if (typeof handler !== 'function') throw new Error(`outboundHandlers has no ${name}`);
    return { handler, env };
  }
  const { hostname } = new URL(url);
  for (const [pattern, handler] of Object.entries(main.outboundByHost ?? {}))
    if (hostFits(pattern, hostname)) return { handler, env };
  if (typeof main.outbound === 'function') return { handler: main.outbound, env };
  if (typeof main === 'function' && !main.outboundByHost && !main.outboundHandlers) return { handler: main, env };
  throw new Error('no handler of the module is for this host');
}
