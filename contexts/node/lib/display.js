'use strict';
// display() and its relatives: DISPLAY, UPDATE_DISPLAY and CLEAR_OUTPUT frames.

const { newId } = require('./ids');
const fs = require('node:fs');
const protocol = require('./protocol');
const mime = require('./mime');

/** Something with a bundle of its own; what display.html(...) and the like return. */
class Rich {
  #bundle;

  constructor(bundle) { this.#bundle = bundle; }

  [Symbol.for('Jupyter.display')]() { return this.#bundle; }

  [Symbol.for('nodejs.util.inspect.custom')]() {
    const text = this.#bundle['text/plain'];
    return text ?? `[${Object.keys(this.#bundle).join(', ')}]`;
  }
}

/** Text of a tagged template or of a plain call. */
function template(strings, ...values) {
  if (!Array.isArray(strings) || !('raw' in strings)) return String(strings);
  return String.raw({ raw: strings.map((s, i) => s ?? strings.raw[i]) }, ...values);
}

function rawTemplate(strings, ...values) {
  return Array.isArray(strings) && 'raw' in strings ? String.raw(strings, ...values) : String(strings);
}

function image(source, options = {}) {
  let bytes = source;
  if (typeof source === 'string' || source instanceof URL) bytes = fs.readFileSync(source);
  const type = options.type ?? mime.sniff(mime.toBytes(bytes));
  if (!type) {
    const text = mime.toBytes(bytes).toString();
    if (text.includes('<svg')) return new Rich({ 'image/svg+xml': text });
    throw new TypeError('image: unknown format; name it with {type: "image/…"}');
  }
  return new Rich({ [type]: bytes, 'text/plain': `[${type}, ${bytes.byteLength} bytes]` });
}

/** What display() returns: not a value to show once more. */
class DisplayHandle {
  #display;

  constructor(display, id) {
    this.#display = display;
    this.id = id;
  }

  update(value, options = {}) {
    return this.#display.show(protocol.UPDATE_DISPLAY, value, { ...options, id: this.id });
  }
}

class Display {
  constructor(requestOf) { this.requestOf = requestOf; }

  send(type, data, metadata, id, req = this.requestOf()) {
    const transient = id === undefined ? {} : { display_id: String(id) };
    const sections = [mime.encode(data), JSON.stringify(metadata ?? {}), JSON.stringify(transient)];
    protocol.send(type, 0, req, sections);
  }

  show(type, value, options) {
    const data = options.raw ? mime.fromBundle(value) : mime.bundle(value);
    const failed = 'application/vnd.cellbox.display-error';
    const finish = (d) => {
      if (failed in d) {
        process.stderr.write(`display: ${d[failed]}\n`);
        delete d[failed];
      }
      this.send(type, d, options.metadata, options.id);
    };
    return data instanceof Promise ? data.then(finish) : finish(data);
  }

  handle(id) { return new DisplayHandle(this, id); }

  /** The global: display(value, {id, metadata, raw}) and display.html`…` and the like. */
  api() {
    const display = (value, options = {}) => {
      const id = options.id ?? newId();
      const pending = this.show(protocol.DISPLAY, value, { ...options, id });
      const handle = this.handle(id);
      return pending instanceof Promise ? pending.then(() => handle) : handle;
    };
    const show = (bundle) => display(new Rich(bundle));
    return Object.assign(display, {
      update: (id, value, options = {}) => this.handle(id).update(value, options),
      clear: (wait = false) => {
        protocol.send(protocol.CLEAR_OUTPUT, wait ? 1 : 0, this.requestOf(), []);
      },
      mime: (bundle, options) => display(bundle, { ...options, raw: true }),
      html: (...a) => show({ 'text/html': template(...a), 'text/plain': '[HTML]' }),
      svg: (...a) => show({ 'image/svg+xml': template(...a), 'text/plain': '[SVG]' }),
      markdown: (...a) => { const t = template(...a); return show({ 'text/markdown': t, 'text/plain': t }); },
      latex: (...a) => { const t = rawTemplate(...a); return show({ 'text/latex': t, 'text/plain': t }); },
      javascript: (...a) => show({ 'application/javascript': template(...a), 'text/plain': '[JavaScript]' }),
      text: (...a) => show({ 'text/plain': template(...a) }),
      json: (value) => show({ 'application/json': value, 'text/plain': mime.inspect(value) }),
      image: (source, options) => display(image(source, options)),
      vega: (spec) => show({ [mime.vegaMime(spec.$schema ?? '')]: spec, 'text/plain': '[Vega chart]' }),
    });
  }
}

module.exports = { Display, DisplayHandle, Rich };
