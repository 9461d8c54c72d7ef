'use strict';
// V8's REPL mode, through an inspector session inside the process: nothing listens anywhere.

const inspector = require('node:inspector');
const { native } = require('./protocol');

const session = new inspector.Session();
session.connect();

let caught;

/** Evaluates without running anything that has side effects; for completion and inspection. */
function peek(expression) {
  let found;
  session.post('Runtime.evaluate', {
    expression, silent: true, throwOnSideEffect: true, timeout: 200, objectGroup: 'peek',
  }, (error, result) => { found = error ? undefined : result; });
  return found && !found.exceptionDetails ? found.result : undefined;
}

/** The value behind a remote object. */
function unwrap(remote) {
  if (!remote) return undefined;
  if (remote.objectId) {
    caught = undefined;
    session.post('Runtime.callFunctionOn', {
      objectId: remote.objectId, functionDeclaration: 'function(){"use strict";__cellbox.caught(this)}', silent: true,
    });
    const value = caught;
    caught = undefined;
    return value;
  }
  if (!remote.unserializableValue) return remote.value;
  return remote.type === 'bigint' ? BigInt(remote.unserializableValue.slice(0, -1)) : Number(remote.unserializableValue);
}

function keep(value) {
  caught = value;
}

function release(group) {
  session.post('Runtime.releaseObjectGroup', { objectGroup: group });
}

/** Names of let, const and class declarations of all cells. */
function lexicalNames() {
  let names = [];
  session.post('Runtime.globalLexicalScopeNames', {}, (error, result) => { names = error ? [] : result.names; });
  return names;
}

/**
 * Runs a script. then(failure) is called once: with undefined, or {value, line, column, text} of what
 * was thrown. A script without await has run when this returns; `then` comes as a microtask.
 */
function run(code, name, then) {
  session.post('Runtime.evaluate', {
    expression: `${code}\n//# sourceURL=${name}`, replMode: true, awaitPromise: true, objectGroup: 'cell',
  }, (error, result) => {
    if (error) {
      // terminated: who ordered that ends the cell, too
      if (!native.interrupted()) then({ value: new Error(error.message), line: 0, column: 0 });
      return;
    }
    try {
      then(result.exceptionDetails ? failure(result.exceptionDetails) : undefined);
    } catch {
      native.panic();
    }
  });
}

function failure(details) {
  const value = unwrap(details.exception);
  release('cell');
  return { value, line: details.lineNumber + 1, column: details.columnNumber + 1 };
}

module.exports = { run, peek, unwrap, keep, release, lexicalNames, session };
