'use strict';
// A context that waits holds no garbage: what start-up left is collected once.

const { native } = require('./protocol');

const AFTER_MS = 1000;

/** After a while in which nothing ran; busy() says whether something does. */
function collectLater(busy) {
  setTimeout(() => { if (!busy()) native.collect(); }, AFTER_MS).unref();
}

module.exports = { collectLater };
