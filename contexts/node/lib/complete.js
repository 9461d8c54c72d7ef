'use strict';
// complete_request and is_complete_request: from the objects that live in the context. Everything
// here is synchronous and free of side effects: it may run in the middle of a cell.

const fs = require('node:fs');
const path = require('node:path');
const util = require('node:util');
const Module = require('node:module');
const evaluate = require('./evaluate');
const modules = require('./modules');
const expression = require('./expression');
const { parse } = require('./rewrite');

const { tokTypes, isName, isDot } = expression;

const KEYWORDS = ('async await break case catch class const continue debugger default delete do else export extends ' +
  'false finally for from function get if import in instanceof let new null of return set static super switch this ' +
  'throw true try typeof undefined var void while with yield').split(' ');
const TS_KEYWORDS = ('abstract as asserts declare enum implements infer interface is keyof namespace never readonly ' +
  'satisfies type unknown any boolean number string bigint symbol object').split(' ');
const MATCHES_MAX = 2000;

/** Without asking for a function's text: that of Node's own would be loaded for it. */
function typeOf(value) {
  if (typeof value !== 'function') return 'instance';
  return Object.getOwnPropertyDescriptor(value, 'prototype')?.writable === false ? 'class' : 'function';
}

/** Names of an object and its prototypes, nearest first: Map name -> type. */
function memberNames(value) {
  const found = new Map();
  if (value === null || value === undefined) return found;
  let object = Object(value);
  for (let depth = 0; object && depth < 20 && found.size < MATCHES_MAX; depth++) {
    if (util.types.isProxy(object)) break; // its traps are code of the user
    const array = ArrayBuffer.isView(object) || Array.isArray(object);
    for (const name of Object.getOwnPropertyNames(object)) {
      if (found.has(name) || (array && /^\d/.test(name))) continue;
      const d = Object.getOwnPropertyDescriptor(object, name);
      found.set(name, d && 'value' in d ? typeOf(d.value) : 'property');
    }
    object = Object.getPrototypeOf(object);
  }
  return found;
}

const NATIVE = new Set(Object.getOwnPropertyNames(globalThis));

/** Node loads some of its globals when somebody so much as asks for their descriptor. */
function globalType(name) {
  if (NATIVE.has(name)) return /^[A-Z]/.test(name) ? 'class' : 'instance';
  const d = Object.getOwnPropertyDescriptor(globalThis, name);
  return d && 'value' in d ? typeOf(d.value) : 'property';
}

function valueOf(text) {
  const remote = evaluate.peek(`(${text})`);
  if (!remote) return undefined;
  const value = evaluate.unwrap(remote);
  evaluate.release('peek');
  return { value };
}

function globals(runner, tokens, at) {
  const found = new Map();
  for (const token of tokens) if (token.type === tokTypes.name && token.end !== at) found.set(token.value, 'instance');
  for (const name of evaluate.lexicalNames()) found.set(name, 'instance');
  for (const name of Object.getOwnPropertyNames(globalThis)) if (!found.has(name)) found.set(name, globalType(name));
  for (const name of memberNames(Object.getPrototypeOf(globalThis)).keys()) found.set(name, 'function');
  for (const name of KEYWORDS) found.set(name, 'keyword');
  if (runner.language === 'typescript') for (const name of TS_KEYWORDS) found.set(name, 'keyword');
  found.delete('__cellbox');
  return found;
}

function packages() {
  const found = new Set();
  for (const dir of [...Module._nodeModulePaths(modules.cwd())]) {
    let names = [];
    try {
      names = fs.readdirSync(dir);
    } catch { continue; }
    for (const name of names) {
      if (name.startsWith('.')) continue;
      if (!name.startsWith('@')) found.add(name);
      else for (const sub of fs.readdirSync(path.join(dir, name))) found.add(`${name}/${sub}`);
    }
  }
  return found;
}

function files(prefix) {
  const slash = prefix.lastIndexOf('/') + 1;
  const dir = path.resolve(modules.cwd(), prefix.slice(0, slash) || '.');
  try {
    return fs.readdirSync(dir, { withFileTypes: true })
      .filter((e) => !e.name.startsWith('.') || prefix.slice(slash).startsWith('.'))
      .map((e) => prefix.slice(0, slash) + e.name + (e.isDirectory() ? '/' : ''));
  } catch {
    return [];
  }
}

/** In a string: a module's name, a file, or the key of an object. */
function inString(text, tokens, start) {
  const prefix = text.slice(start + 1);
  const before = tokens.at(-1), callee = tokens.at(-2);
  const module = before && ((isName(before) && (before.value === 'from' || before.type.keyword === 'import')) ||
    (before.type === tokTypes.parenL && isName(callee) && (callee.value === 'require' || callee.type.keyword === 'import')));
  if (before?.type === tokTypes.bracketL) {
    const object = expression.chainText(text, tokens, tokens.length - 2);
    const found = object === undefined ? undefined : valueOf(object);
    return { from: start + 1, names: found ? memberNames(found.value) : new Map() };
  }
  const names = new Map();
  const relative = prefix.startsWith('.') || prefix.startsWith('/');
  if (module && !relative) {
    for (const name of Module.builtinModules) {
      if (name.startsWith('_')) continue;
      names.set(prefix.startsWith('node:') && !name.startsWith('node:') ? `node:${name}` : name, 'module');
    }
    for (const name of packages()) names.set(name, 'module');
  } else if (!module || relative) {
    for (const name of files(prefix)) names.set(name, 'path');
  }
  return { from: start + 1, names };
}

function candidates(runner, text) {
  const { tokens, brokenAt } = expression.tokenize(text);
  if (brokenAt !== undefined && (text[brokenAt] === '"' || text[brokenAt] === "'")) return inString(text, tokens, brokenAt);
  if (brokenAt !== undefined && text[brokenAt] !== '`') return { from: text.length, names: new Map() };
  let last = tokens.length - 1, from = text.length;
  if (isName(tokens[last]) && tokens[last].end === text.length) from = tokens[last--].start;
  if (!isDot(tokens[last])) return { from, names: globals(runner, tokens, text.length) };
  const object = expression.chainText(text, tokens, last - 1);
  const found = object === undefined ? undefined : valueOf(object);
  return { from, names: found ? memberNames(found.value) : new Map(), identifiers: true };
}

const IDENTIFIER = /^[\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*$/u;

/** Content of complete_reply; cursor counts code points. */
function complete(runner, code, cursor) {
  const at = expression.indexOf(code, cursor);
  const text = code.slice(0, at);
  const { from, names, identifiers } = candidates(runner, text);
  const prefix = text.slice(from);
  const found = [];
  for (const [name, type] of names) {
    if (!name.startsWith(prefix) || (identifiers && !IDENTIFIER.test(name))) continue;
    found.push([name, type]);
    if (found.length >= MATCHES_MAX) break;
  }
  // names with two underscores are for those who ask for them
  const rank = ([name]) => (name.startsWith('__') && !prefix.startsWith('__') ? 1 : 0);
  found.sort((a, b) => rank(a) - rank(b) || (a[0] < b[0] ? -1 : 1));
  const start = expression.codePoints(code, from), end = expression.codePoints(code, at);
  return {
    status: 'ok',
    matches: found.map(([name]) => name),
    cursor_start: start,
    cursor_end: end,
    metadata: { _jupyter_types_experimental: found.map(([name, type]) => ({ text: name, type, start, end })) },
  };
}

/** What is missing is at the end: more text can make it right. */
function endsEarly(error, code) {
  return error.pos >= code.trimEnd().length || error.message.startsWith('Unterminated template') ||
    error.message.startsWith('Unterminated comment');
}

function indentOf(code) {
  const lines = code.trimEnd().split('\n');
  const last = lines.at(-1);
  const indent = last.slice(0, last.length - last.trimStart().length);
  return '([{'.includes(last.at(-1) ?? ' ') ? `${indent}  ` : indent;
}

/** Content of is_complete_reply. */
function isComplete(language, code) {
  let error;
  try {
    parse(code);
    return { status: 'complete' };
  } catch (e) {
    error = e;
  }
  let early = endsEarly(error, code);
  if (language === 'typescript') {
    const wrong = require('./typescript').firstError(code);
    if (!wrong) return { status: 'complete' };
    early = wrong.start >= code.trimEnd().length;
  }
  return early ? { status: 'incomplete', indent: indentOf(code) } : { status: 'invalid' };
}

module.exports = { complete, isComplete };
