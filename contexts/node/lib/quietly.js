'use strict';
// Node says once that a function is experimental; users of a context can do nothing about ours.

function quietly(function_) {
  const emit = process.emitWarning;
  process.emitWarning = () => {};
  try {
    return function_();
  } finally {
    process.emitWarning = emit;
  }
}

module.exports = { quietly };
