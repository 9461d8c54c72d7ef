'use strict';
// Numbers of the frame protocol (docs/protocol.md, contexts/proto/frame.h) and the native half.

const native = require('../cbx-node.node');

const TYPES = Object.freeze({
  SETUP: 1, WARMUP: 2, EXECUTE: 3, COMPLETE: 4, INSPECT: 5, IS_COMPLETE: 6, HISTORY: 7, COMM_INFO: 8,
  COMM: 9, INPUT: 10, SHUTDOWN: 11,
  HELLO: 33, DISPLAY: 34, UPDATE_DISPLAY: 35, RESULT: 36, CLEAR_OUTPUT: 37, ERROR: 38, STDIN: 39,
  COMM_OUT: 40, DONE: 41,
});
const STATUS = Object.freeze({ OK: 0, FAILED: 1, ABORTED: 2 });
const EVENTS = Object.freeze({ INTERRUPT: 1, PLAIN: 2, HEAP: 4, STRAY: 8, TERMINATED: 16 });

let muted = false;

/** Frames of warm-up cells are dropped; their text is, too. */
function mute(on) {
  muted = on;
  native.mute(on);
}

function send(type, arg, req, sections) {
  if (!muted || type === TYPES.DONE) native.send(type, arg, req, sections);
}

/** Ends a request; `content` is the reply without execution_count. */
function done(req, content, status = STATUS.OK) {
  native.send(TYPES.DONE, status, req, [JSON.stringify(content)]);
}

module.exports = { ...TYPES, STATUS, EVENTS, native, send, done, mute };
