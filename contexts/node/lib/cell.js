'use strict';
// One execution: text to script, script to value.

const { native } = require('./protocol');
const { rewrite } = require('./rewrite');
const evaluate = require('./evaluate');
const modules = require('./modules');
const errors = require('./errors');

/** What all cells of a context share: which names they have declared, and how. */
class Names {
  constructor() {
    this.kinds = new Map();
    this.constants = new Set();
  }

  commit(script) {
    for (const [name, kind] of script.declared) {
      this.kinds.set(name, kind);
      if (script.constants.has(name)) this.constants.add(name);
      else this.constants.delete(name);
    }
  }
}

class LineIndex {
  constructor(text) {
    this.starts = [0];
    for (let i = 0; i < text.length; i++) {
      const c = text[i];
      if (c === '\r' && text[i + 1] === '\n') continue;
      if (c === '\n' || c === '\r' || c === '\u2028' || c === '\u2029') this.starts.push(i + 1);
    }
  }

  offset(line, column) { return (this.starts[line - 1] ?? 0) + column - 1; }

  position(offset) {
    let low = 0, high = this.starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.starts[middle] <= offset) low = middle;
      else high = middle - 1;
    }
    return { line: low + 1, column: offset - this.starts[low] + 1 };
  }
}

class Cell {
  constructor(req, text, options, language) {
    this.req = req;
    this.text = text;
    this.language = language;
    this.count = options.execution_count;
    this.silent = options.silent === true;
    this.store = (options.store_history ?? !this.silent) && !this.silent;
    this.allowStdin = options.allow_stdin === true;
    this.options = options;
    this.name = `cell-${this.count ?? req}.${language === 'typescript' ? 'ts' : 'js'}`;
    this.finished = false;
    this.hasValue = false;
    this.value = undefined;
    this.rejectWait = null; // gives up the top-level await that is pending
  }

  setValue(value) {
    this.hasValue = true;
    this.value = value;
    return undefined;
  }

  /** Compiles and runs; then(failure or undefined) once. */
  run(names, then) {
    let script;
    try {
      script = this.compile(names);
    } catch (e) {
      then({ value: e });
      return;
    }
    if (!script.imports.length) {
      this.evaluate(script, names, then);
      return;
    }
    this.import(script, names).then(() => this.evaluate(script, names, then), (e) => then({ value: e })).catch(native.panic);
  }

  compile(names) {
    const plain = { code: this.text, position: (line, column) => ({ line, column }) };
    if (this.language !== 'typescript') return this.compileScript(plain, names) ?? this.unchanged(plain);
    // most cells have no types in them: nothing has to be stripped, nor the stripper be loaded
    const untyped = this.compileScript(plain, names, true);
    if (untyped) return untyped;
    const { toJavaScript, transpile } = require('./typescript');
    try {
      const stripped = this.compileScript(toJavaScript(this.text, this.name), names);
      if (stripped) return stripped;
      const transpiled = transpile(this.text, this.name); // what stripping leaves alone: decorators
      return this.compileScript(transpiled, names) ?? this.unchanged(transpiled);
    } catch (e) {
      throw e.line ? errors.locate(e, this.name, this.text, e.line, e.column) : e;
    }
  }

  /** The script of a JavaScript text; undefined where acorn sees none. */
  compileScript({ code, position }, names, untyped = false) {
    try {
      const script = rewrite(code, names.kinds, names.constants, this.req, untyped);
      this.index(script, code, position);
      return script;
    } catch (e) {
      if (!untyped && !(e instanceof SyntaxError)) throw e;
      this.syntaxAt = e.pos === undefined ? undefined : new LineIndex(code).position(e.pos);
      return undefined;
    }
  }

  /** V8 has the better words for an error of syntax; and if it disagrees with acorn it is right. */
  unchanged({ code, position }) {
    const script = { code, hoisted: null, imports: [], declared: new Map(), constants: new Set(), original: (o) => o };
    this.index(script, code, position);
    return script;
  }

  /** How positions in the script become the user's. */
  index(script, code, position) {
    let generated, source;
    Object.defineProperty(this, 'source', { configurable: true, get: () => (source ??= new LineIndex(code)) });
    this.fromSource = position;
    this.position = (line, column) => {
      generated ??= new LineIndex(script.code);
      const at = this.source.position(script.original(generated.offset(line, column)));
      return position(at.line, at.column);
    };
    errors.register(this.name, this);
  }

  async import(script, names) {
    const values = [];
    const interrupted = new Promise((resolve, reject) => { this.rejectWait = reject; });
    for (const declaration of script.imports) {
      const { source, attributes } = declaration;
      const options = Object.keys(attributes).length ? { with: attributes } : undefined;
      try {
        const namespace = await Promise.race([modules.load(source, options), interrupted]);
        values.push(...modules.bind(namespace, declaration, this.language === 'typescript'));
      } catch (e) {
        throw errors.importFailed(e, this.name, this.placeOf(declaration));
      }
    }
    const lets = values.map(([name], i) => `${script.declared.get(name)} ${name}=__cellbox.bound[${i}];`);
    globalThis.__cellbox.bound = values.map(([, value]) => value);
    await new Promise((resolve, reject) => {
      evaluate.run(lets.join(''), 'imports', (failure) => (failure ? reject(failure.value) : resolve()));
    });
    for (const [name] of values) {
      names.kinds.set(name, script.declared.get(name));
      names.constants.add(name);
    }
    for (const { names: bound } of script.imports) for (const { local } of bound) script.declared.delete(local);
  }

  placeOf(declaration) {
    const at = this.source.position(declaration.at);
    return this.fromSource(at.line, at.column);
  }

  evaluate(script, names, then) {
    const run = () => {
      names.commit(script);
      evaluate.run(script.code, this.name, (failure) => then(failure && this.located(failure)));
    };
    if (!script.hoisted) {
      run();
      return;
    }
    evaluate.run(script.hoisted, this.name, (failure) => (failure ? then(failure) : run()));
  }

  /** An early SyntaxError says where: it has no frames of its own. */
  located(failure) {
    const e = failure.value;
    if (!(e instanceof SyntaxError) || String(e.stack).includes('\n    at ')) return failure;
    const at = this.syntaxAt ?? this.position(failure.line, failure.column);
    errors.locate(e, this.name, this.text, at.line, at.column);
    return failure;
  }

  /** For the promise of a top-level await: one that an interrupt can reject. */
  wait(value) {
    if (value === null || (typeof value !== 'object' && typeof value !== 'function')) return value;
    return new Promise((resolve, reject) => {
      this.rejectWait = reject;
      Promise.resolve(value).then(resolve, reject);
    });
  }
}

/** for await: every step can be given up. */
function waitEach(cell, iterable) {
  const method = iterable[Symbol.asyncIterator];
  const iterator = method ? method.call(iterable) : iterable[Symbol.iterator]();
  const step = async (result) => {
    const { done, value } = await result;
    return { done, value: method ? value : await value };
  };
  return {
    [Symbol.asyncIterator]: () => ({
      next: (value) => cell.wait(step(iterator.next(value))),
      return: (value) => iterator.return?.(value) ?? { done: true, value },
    }),
  };
}

module.exports = { Cell, Names, waitEach };
