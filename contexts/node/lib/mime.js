'use strict';
// MIME bundles of values: text/plain as Node's inspect shows it, what the value says of itself
// (Symbol.for("Jupyter.display"), _toHtml and friends), JSON where the value has that form.

const util = require('node:util');

const DISPLAY = Symbol.for('Jupyter.display');
const MIME_MAX = 60 << 20; // bytes of one message; the protocol carries 64 MiB
const JSON_DEPTH = 100, JSON_NODES = 200000;

const CONVENTIONS = {
  _toHtml: 'text/html', _toSvg: 'image/svg+xml', _toPng: 'image/png', _toJpeg: 'image/jpeg',
  _toMarkdown: 'text/markdown', _toLatex: 'text/latex', _toJson: 'application/json',
};

function inspect(value) {
  try {
    return util.inspect(value);
  } catch (e) {
    return `[value that cannot be shown: ${e instanceof Error ? e.message : 'inspection failed'}]`;
  }
}

/** Type of the bytes of an image; undefined if they are none. */
function sniff(bytes) {
  const at = (i, ...codes) => codes.every((c, n) => bytes[i + n] === c);
  if (at(0, 0x89, 0x50, 0x4e, 0x47)) return 'image/png';
  if (at(0, 0xff, 0xd8, 0xff)) return 'image/jpeg';
  if (at(0, 0x47, 0x49, 0x46, 0x38)) return 'image/gif';
  if (at(0, 0x52, 0x49, 0x46, 0x46) && at(8, 0x57, 0x45, 0x42, 0x50)) return 'image/webp';
  if (at(0, 0x25, 0x50, 0x44, 0x46)) return 'application/pdf';
  return undefined;
}

function isBytes(value) {
  return ArrayBuffer.isView(value) || value instanceof ArrayBuffer || value instanceof SharedArrayBuffer;
}

function toBytes(value) {
  return ArrayBuffer.isView(value) ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : Buffer.from(value);
}

/** A copy that is JSON without loss, or undefined: no NaN, no cycles, no BigInt, no class instances. */
function plainJson(value) {
  const seen = new Set();
  let nodes = 0;
  const copy = (v, depth) => {
    if (++nodes > JSON_NODES || depth > JSON_DEPTH) throw undefined;
    if (v === null || typeof v === 'string' || typeof v === 'boolean') return v;
    if (typeof v === 'number') {
      if (!Number.isFinite(v)) throw undefined;
      return v;
    }
    if (typeof v !== 'object' || util.types.isProxy(v) || seen.has(v)) throw undefined;
    const prototype = Object.getPrototypeOf(v);
    const array = Array.isArray(v);
    if (!array && prototype !== Object.prototype && prototype !== null) throw undefined;
    if (Object.getOwnPropertySymbols(v).length) throw undefined;
    seen.add(v);
    let out;
    if (array) {
      out = [];
      for (let i = 0; i < v.length; i++) {
        if (!(i in v)) throw undefined;
        out.push(copy(v[i], depth + 1));
      }
    } else {
      out = {};
      for (const key of Object.keys(v)) {
        const d = Object.getOwnPropertyDescriptor(v, key);
        if (d.get) throw undefined;
        if (d.value === undefined) continue;
        Object.defineProperty(out, key, { value: copy(d.value, depth + 1), enumerable: true, writable: true, configurable: true });
      }
    }
    seen.delete(v);
    return out;
  };
  try {
    return copy(value, 0);
  } catch {
    return undefined;
  }
}

/** JSON text of what a user meant as JSON: BigInt becomes text, a cycle "[Circular]". */
function jsonText(value) {
  const big = (key, v) => (typeof v === 'bigint' ? v.toString() : v);
  try {
    return JSON.stringify(value, big);
  } catch {
    const path = [];
    return JSON.stringify(value, function replace(key, v) {
      while (path.length && path.at(-1) !== this) path.pop();
      if (typeof v !== 'object' || v === null) return big(key, v);
      if (path.includes(v)) return '[Circular]';
      path.push(v);
      return v;
    });
  }
}

/** One entry of a bundle as JSON can carry it: bytes become base64. */
function entry(mime, value) {
  if (isBytes(value)) return toBytes(value).toString('base64');
  if (typeof value === 'string') return value.toWellFormed();
  if (mime === 'application/json' || mime.endsWith('+json')) {
    const text = jsonText(value);
    return text === undefined ? null : JSON.parse(text);
  }
  return Array.isArray(value) ? value.map(String) : String(value);
}

/** {data, metadata} from what a user gave as a bundle. */
function fromBundle(bundle) {
  const data = {};
  for (const [mime, value] of Object.entries(bundle)) {
    if (value !== undefined && value !== null) data[mime] = entry(mime, value);
  }
  return data;
}

function ownDisplay(value) {
  const method = value[DISPLAY];
  if (typeof method !== 'function') return undefined;
  const bundle = method.call(value);
  return bundle !== null && typeof bundle === 'object' ? bundle : undefined;
}

function fromConventions(value) {
  const data = {};
  if (typeof value._toMime === 'function') Object.assign(data, value._toMime());
  for (const [name, mime] of Object.entries(CONVENTIONS)) {
    if (typeof value[name] === 'function') data[mime] = value[name]();
  }
  return Object.keys(data).length ? data : undefined;
}

/** What a value says of itself: a bundle, a promise of one, or undefined. Throws what the value throws. */
function rich(value) {
  if (value === null || (typeof value !== 'object' && typeof value !== 'function') || util.types.isProxy(value)) return undefined;
  const own = ownDisplay(value) ?? fromConventions(value);
  if (own) return own;
  if (isBytes(value) && !(value instanceof SharedArrayBuffer)) {
    const mime = sniff(toBytes(value));
    return mime && { [mime]: value };
  }
  if (typeof value.toDataURL === 'function') return fromDataUrl(value.toDataURL());
  if (isVega(value)) return { [vegaMime(value.$schema)]: value };
  return undefined;
}

function fromDataUrl(url) {
  const comma = String(url).indexOf(',');
  const head = String(url).slice(5, comma).split(';');
  return head.includes('base64') ? { [head[0]]: String(url).slice(comma + 1) } : undefined;
}

function isVega(value) {
  return typeof value.$schema === 'string' && value.$schema.startsWith('https://vega.github.io/schema/');
}

function vegaMime(schema) {
  const [, name, version] = /\/schema\/(vega(?:-lite)?)\/v(\d+)/.exec(schema) ?? [null, 'vega-lite', '5'];
  return `application/vnd.${name.replace('-', '')}.v${version}+json`;
}

/**
 * Bundle of a value: {"text/plain": …, …}; a promise where the value's own bundle is one.
 * Never throws and never leaves text/plain out for what a value's own methods do wrong.
 */
function bundle(value) {
  let own;
  try {
    own = rich(value);
  } catch (e) {
    return { 'text/plain': inspect(value), 'application/vnd.cellbox.display-error': inspect(e) };
  }
  if (util.types.isPromise(own)) return own.then((b) => complete(value, b ?? {}));
  return complete(value, own);
}

function complete(value, own) {
  if (own) {
    const data = fromBundle(own);
    if (!('text/plain' in data)) data['text/plain'] = isBytes(value) ? `[${sniff(toBytes(value))}, ${value.byteLength} bytes]` : inspect(value);
    return data;
  }
  const data = { 'text/plain': inspect(value) };
  if (value !== null && typeof value === 'object') {
    const json = plainJson(value);
    if (json !== undefined) data['application/json'] = json;
  }
  return data;
}

/** JSON text of a bundle; what is too large is named, not sent. */
function encode(data) {
  let text = JSON.stringify(data);
  if (Buffer.byteLength(text) <= MIME_MAX) return text;
  const kept = {}, dropped = [];
  let room = MIME_MAX - 65536;
  const sized = Object.entries(data).map(([mime, v]) => [mime, v, Buffer.byteLength(JSON.stringify(v))]);
  for (const [mime, v, size] of sized.sort((a, b) => a[2] - b[2])) {
    if (size <= room) {
      kept[mime] = v;
      room -= size;
    } else {
      dropped.push(`${mime}: ${Math.round(size / (1 << 20))} MiB`);
    }
  }
  const note = `[output too large to show, limit ${MIME_MAX >> 20} MiB: ${dropped.join(', ')}]`;
  kept['text/plain'] = kept['text/plain'] ? `${kept['text/plain']}\n${note}` : note;
  text = JSON.stringify(kept);
  return text;
}

module.exports = { bundle, encode, fromBundle, inspect, sniff, isBytes, toBytes, plainJson, vegaMime };
