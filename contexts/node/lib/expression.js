'use strict';
// The expression at a place in a text that need not be whole: what completion and inspection ask for.

const acorn = require('./acorn');
const { OPTIONS } = require('./options');

const { tokTypes } = acorn;
const OPENERS = new Map([[tokTypes.parenR, tokTypes.parenL], [tokTypes.bracketR, tokTypes.bracketL]]);

/** UTF-16 index of a place that is counted in code points. */
function indexOf(text, codePoints) {
  if (codePoints === undefined) return text.length;
  let index = 0;
  for (const c of text) {
    if (codePoints-- <= 0) break;
    index += c.length;
  }
  return index;
}

function codePoints(text, index) {
  let n = 0;
  for (const c of text.slice(0, index)) n += c ? 1 : 0;
  return n;
}

/** Tokens up to where they end or stop making sense: {tokens, brokenAt}. */
function tokenize(text) {
  const tokens = [];
  try {
    for (const token of acorn.tokenizer(text, OPTIONS)) tokens.push(token);
    return { tokens, brokenAt: undefined };
  } catch (e) {
    return { tokens, brokenAt: e.pos };
  }
}

function isName(token) {
  return token !== undefined && (token.type === tokTypes.name || token.type.keyword !== undefined);
}

function isDot(token) {
  return token !== undefined && (token.type === tokTypes.dot || token.type === tokTypes.questionDot);
}

/** Index of the token that opens the bracket which tokens[at] closes; -1. */
function opener(tokens, at) {
  const depth = [];
  for (let i = at; i >= 0; i--) {
    const open = OPENERS.get(tokens[i].type);
    if (open) depth.push(open);
    else if (depth.length && tokens[i].type === depth.at(-1)) {
      depth.pop();
      if (!depth.length) return i;
    }
  }
  return -1;
}

/** First token of the chain of members, calls and indices that ends with tokens[end]; -1: none. */
function chainStart(tokens, end) {
  let i = end;
  for (;;) {
    let t = tokens[i];
    if (t === undefined) return -1;
    let closed = false;
    while (OPENERS.has(t.type)) { // (…) or […]: a call or an index, unless nothing stands before it
      closed = true;
      i = opener(tokens, i);
      if (i < 0) return -1;
      const before = tokens[i - 1];
      const joined = before && (isName(before) || OPENERS.has(before.type)) && before.type.keyword !== 'return';
      if (!joined) return i;
      t = tokens[--i];
    }
    const primary = isName(t) || (!closed && (t.type === tokTypes.string || t.type === tokTypes.num || t.type === tokTypes.regexp));
    if (!primary) return -1;
    if (!isDot(tokens[i - 1])) return t.type.keyword && !['this', 'null', 'true', 'false'].includes(t.type.keyword) ? -1 : i;
    i -= 2;
  }
}

/** Text of the chain that ends with tokens[end]; undefined: none. */
function chainText(text, tokens, end) {
  let start = chainStart(tokens, end);
  if (start > 0 && tokens[start - 1].type === tokTypes._new) start--;
  return start < 0 ? undefined : text.slice(tokens[start].start, tokens[end].end);
}

module.exports = { indexOf, codePoints, tokenize, isName, isDot, chainText, tokTypes };
