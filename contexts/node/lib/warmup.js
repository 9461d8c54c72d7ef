'use strict';
// Cells of a context that waits in the pool: they leave compiled code and caches behind, no names.

const protocol = require('./protocol');
const { native } = protocol;
const { Cell } = require('./cell');

const CELLS = [
  ['javascript', '1+1'],
  ['javascript', '({ a: [1, "x", null], m: new Map([[1, 2]]) })'],
  ['javascript', 'console.log("x", { a: 1 }); console.error("y"); await 1'],
  ['javascript', '[1, 2, 3].map((x) => x * 2)'],
  ['javascript', '{ throw new Error("x") }'],
  ['javascript', 'foo('],
  ['typescript', '1 + 1'],
];

function runOne(runner, language, text) {
  return new Promise((resolve) => {
    const cell = new Cell(0, text, { execution_count: 0, silent: false, store_history: false }, language);
    runner.cells.set(0, cell);
    runner.current = cell;
    const finish = runner.finish;
    runner.finish = () => {
      runner.finish = finish;
      resolve();
    };
    runner.runCell(cell, (failure) => runner.ended(cell, failure));
  });
}

async function run(runner) {
  protocol.mute(true);
  try {
    for (let round = 0; round < 2; round++) for (const [language, text] of CELLS) await runOne(runner, language, text);
    const complete = require('./complete');
    complete.complete(runner, 'proc', 4);
    complete.isComplete('javascript', 'x = (');
    native.collect();
    // the collector threw compiled code away as well: what the first cell needs is made again
    require('./hello').hello('javascript');
    for (let round = 0; round < 2; round++) await runOne(runner, ...CELLS[0]);
  } finally {
    runner.cells.clear();
    runner.current = null;
    protocol.mute(false);
  }
}

module.exports = { run };
