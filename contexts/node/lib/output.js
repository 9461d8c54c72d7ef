'use strict';
// process.stdout and process.stderr: text goes into the ring that init reads, with the request of
// the cell that the running code belongs to.

const { Writable } = require('node:stream');
const { native } = require('./protocol');

/** Like the pipe that Node would have there: synchronous, no terminal, cannot be closed. */
class Output extends Writable {
  constructor(number, requestOf) {
    super({ decodeStrings: false, emitClose: false, autoDestroy: false });
    this.number = number;
    this.requestOf = requestOf;
    this.fd = number;
    this._type = 'pipe';
    this._isStdio = true;
    this.destroySoon = this.destroy;
  }

  _write(chunk, encoding, callback) {
    if (typeof chunk === 'string' && encoding !== 'utf8' && encoding !== 'utf-8') chunk = Buffer.from(chunk, encoding);
    native.write(this.number, this.requestOf(), chunk);
    callback();
  }

  _destroy(error, callback) {
    callback(error);
  }
}

/** Replaces the streams of the process; requestOf() gives the request of the running code. */
function install(requestOf) {
  for (const [name, number] of [['stdout', 1], ['stderr', 2]]) {
    const stream = new Output(number, requestOf);
    Object.defineProperty(process, name, { configurable: true, enumerable: true, get: () => stream });
  }
}

module.exports = { install };
