'use strict';
// How acorn is to read a cell: a script in which everything may stand that a module may have.

const OPTIONS = {
  ecmaVersion: 'latest',
  sourceType: 'script',
  allowAwaitOutsideFunction: true,
  allowImportExportEverywhere: true,
  allowHashBang: true,
};

module.exports = { OPTIONS };
