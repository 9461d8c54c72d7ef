'use strict';
// SIGINT belongs to the host: it decides whether an interrupt is meant for the running cell. Node
// would replace its handler as soon as somebody listens; so listening to it alone changes nothing,
// and the runner emits the event.

function install() {
  for (const event of ['newListener', 'removeListener']) {
    for (const listener of process.listeners(event)) {
      process.removeListener(event, listener);
      const filtered = (type, ...rest) => { if (type !== 'SIGINT') listener.call(process, type, ...rest); };
      process.on(event, filtered);
    }
  }
}

module.exports = { install };
