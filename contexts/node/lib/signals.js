'use strict';
// Signals that do not end a context.
//
// SIGINT belongs to the host: it decides whether an interrupt is meant for the running cell. Node
// would replace its handler as soon as somebody listens; so listening to it alone changes nothing,
// and the runner emits the event.

const { constants } = require('node:os');
const { native } = require('./protocol');

/** Survived by a context that has no listener for them. */
const HARMLESS = new Set(['SIGINT', 'SIGUSR1', 'SIGCHLD', 'SIGCONT', 'SIGURG', 'SIGWINCH', 'SIGPIPE'].map((s) => constants.signals[s]));

/** Node takes a signal to itself without a listener for its end and takes the inspector down first. */
function keepInspector() {
  const kill = process._kill;
  process._kill = (pid, signal) => {
    const own = pid === 0 || pid === process.pid || pid === -process.pid;
    return own && HARMLESS.has(signal) ? native.kill(pid, signal) : kill(pid, signal);
  };
}

function install() {
  keepInspector();
  for (const event of ['newListener', 'removeListener']) {
    for (const listener of process.listeners(event)) {
      process.removeListener(event, listener);
      const filtered = (type, ...rest) => { if (type !== 'SIGINT') listener.call(process, type, ...rest); };
      process.on(event, filtered);
    }
  }
}

module.exports = { install };
