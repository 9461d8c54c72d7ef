'use strict';
// inspect_request: what is known of the object under the cursor. Free of side effects, like
// completion.

const util = require('node:util');
const evaluate = require('./evaluate');
const expression = require('./expression');

const { tokTypes, isName } = expression;
const SOURCE_MAX = 20000;

/** The chain whose last name the cursor touches; within the brackets of a call, its callee. */
function target(code, at) {
  const { tokens } = expression.tokenize(code);
  const touched = tokens.findLastIndex((t) => isName(t) && t.start <= at && at <= t.end);
  if (touched >= 0) return expression.chainText(code, tokens, touched);
  let depth = 0;
  for (let i = tokens.findLastIndex((t) => t.end <= at); i > 0; i--) {
    if (tokens[i].type === tokTypes.parenR) depth++;
    else if (tokens[i].type === tokTypes.parenL && depth-- === 0) return expression.chainText(code, tokens, i - 1);
  }
  return undefined;
}

function signature(f, name) {
  const text = Function.prototype.toString.call(f);
  if (/^class\b/.test(text)) {
    const parent = Object.getPrototypeOf(f)?.name;
    return `class ${f.name || name}${parent ? ` extends ${parent}` : ''}`;
  }
  const head = parametersOf(text);
  return `${/^async\b/.test(text) ? 'async ' : ''}${f.name || name}${head ?? `(${f.length ? `${f.length} parameters` : ''})`}`;
}

/** "(a, b = 1)" of a function's text; undefined where it has none (native code). */
function parametersOf(text) {
  if (text.includes('[native code]')) return undefined;
  const { tokens } = expression.tokenize(text);
  const open = tokens.findIndex((t) => t.type === tokTypes.parenL);
  const arrow = tokens.findIndex((t) => t.type === tokTypes.arrow);
  if (arrow === 1 || (arrow > 0 && (open < 0 || arrow < open))) return `(${text.slice(tokens[arrow - 1].start, tokens[arrow - 1].end)})`;
  let depth = 0;
  for (let i = open; i >= 0 && i < tokens.length; i++) {
    if (tokens[i].type === tokTypes.parenL) depth++;
    else if (tokens[i].type === tokTypes.parenR && --depth === 0) return text.slice(tokens[open].start, tokens[i].end);
  }
  return undefined;
}

function describe(value, text, detail) {
  const lines = [];
  if (typeof value === 'function') {
    lines.push(`Signature: ${signature(value, text)}`, `Type:      ${/^class\b/.test(Function.prototype.toString.call(value)) ? 'class' : 'function'}`);
    const source = Function.prototype.toString.call(value);
    if (detail > 0 || source.length < 400) lines.push('', source.slice(0, SOURCE_MAX));
    return lines.join('\n');
  }
  const kind = value === null ? 'null' : typeof value;
  const name = kind === 'object' && !util.types.isProxy(value) ? Object.getPrototypeOf(value)?.constructor?.name : undefined;
  lines.push(`Type:      ${name ?? kind}`);
  if (typeof value === 'string' || Array.isArray(value)) lines.push(`Length:    ${value.length}`);
  lines.push('', util.inspect(value, { depth: detail > 0 ? 4 : 1, customInspect: false }));
  return lines.join('\n');
}

/** Content of inspect_reply; cursor counts code points. */
function inspect(runner, code, cursor, detail) {
  const missing = { status: 'ok', found: false, data: {}, metadata: {} };
  const text = target(code, expression.indexOf(code, cursor));
  if (text === undefined) return missing;
  const remote = evaluate.peek(`(${text})`);
  if (!remote) return missing;
  const value = evaluate.unwrap(remote);
  evaluate.release('peek');
  if (value === undefined && remote.type !== 'undefined') return missing;
  return { status: 'ok', found: true, data: { 'text/plain': describe(value, text, detail) }, metadata: {} };
}

module.exports = { inspect };
