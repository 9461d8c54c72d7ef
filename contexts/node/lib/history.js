'use strict';
// history_request: what was run in this context.

const INPUTS_MAX = 20000;

class History {
  constructor() { this.lines = []; }

  add(line, input) {
    this.lines.push({ line, input, output: null });
    if (this.lines.length > INPUTS_MAX) this.lines.shift();
    return this.lines.at(-1);
  }

  /** Content of history_request -> [[session, line, input or [input, output]], …]. */
  answer(request) {
    let found = this.lines;
    const n = request.n;
    switch (request.hist_access_type) {
      case 'range':
        if (request.session && request.session !== 1) return [];
        found = found.filter((l) => l.line >= (request.start ?? 1) && (request.stop == null || l.line < request.stop));
        break;
      case 'search': {
        const matches = glob(request.pattern ?? '*');
        found = found.filter((l) => matches(l.input));
        if (request.unique) found = [...new Map(found.map((l) => [l.input, l])).values()];
        if (n != null) found = n > 0 ? found.slice(-n) : [];
        break;
      }
      default:
        if (n != null) found = n > 0 ? found.slice(-n) : [];
    }
    return found.map((l) => [1, l.line, request.output ? [l.input, l.output] : l.input]);
  }
}

/** Shell patterns: * and ? as in SQL GLOB, over the whole text. */
function glob(pattern) {
  const source = [...pattern].map((c) => (c === '*' ? '[^]*' : c === '?' ? '[^]' : c.replace(/[\\^$.*+?()[\]{}|/]/, '\\$&'))).join('');
  const expression = new RegExp(`^${source}$`);
  return (text) => expression.test(text);
}

module.exports = { History };
