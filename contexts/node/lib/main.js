'use strict';
// The program that init executes for a JavaScript or TypeScript context. It loads the runner.
//
// Cells share the realm: `const { Map } = require("immutable")` declares a name that every function
// in it would see instead of the language's own, the runner's and the parser's, too. So their files
// are compiled with the builtins as parameters.

const fs = require('node:fs');
const path = require('node:path');
const vm = require('node:vm');
const { createRequire } = require('node:module');

// This file itself is compiled like any other: what it uses later is taken now.
const { getBuiltinModule } = process;
const { apply } = Reflect;
const { assign } = Object;

const BUILTINS = [
  'AggregateError', 'Array', 'ArrayBuffer', 'Atomics', 'BigInt', 'Boolean', 'Buffer', 'DataView', 'Date', 'Error', 'EvalError',
  'Function', 'Infinity', 'Int32Array', 'JSON', 'Map', 'Math', 'NaN', 'Number', 'Object', 'Promise', 'Proxy', 'RangeError',
  'ReferenceError', 'Reflect', 'RegExp', 'Set', 'SharedArrayBuffer', 'String', 'Symbol', 'SyntaxError', 'TypeError',
  'URIError', 'URL', 'Uint8Array', 'Uint16Array', 'Uint32Array', 'Int8Array', 'Int16Array', 'Float64Array', 'WeakMap', 'WeakRef',
  'WeakSet', 'clearImmediate', 'clearTimeout', 'console', 'decodeURIComponent', 'encodeURIComponent', 'globalThis', 'isFinite',
  'isNaN', 'parseFloat', 'parseInt', 'process', 'queueMicrotask', 'setImmediate', 'setTimeout', 'undefined',
];
const VALUES = BUILTINS.map((name) => globalThis[name]);
const PARAMETERS = ['exports', 'require', 'module', '__filename', '__dirname', ...BUILTINS];

const loaded = new Map(); // file -> module

function load(file) {
  const found = loaded.get(file);
  if (found) return found.exports;
  const module = { exports: {}, filename: file };
  loaded.set(file, module);
  // Byte by byte where that is enough: what is beyond Latin-1 stands in comments of ours and of the
  // parser, and with it V8 would keep the whole text in two bytes a character.
  const text = fs.readFileSync(file, file.includes('/typescript/') ? 'utf8' : 'latin1');
  const run = vm.compileFunction(text, PARAMETERS, { filename: file });
  apply(run, module.exports, [module.exports, requireFor(file), module, file, path.dirname(file), ...VALUES]);
  return module.exports;
}

function requireFor(file) {
  const own = createRequire(file);
  return assign((name) => {
    const builtin = getBuiltinModule(name);
    if (builtin) return builtin;
    const resolved = own.resolve(name);
    return resolved.endsWith('.node') ? own(resolved) : load(resolved);
  }, own);
}

const { Runner } = load(path.join(__dirname, 'runner.js'));

new Runner().start();
