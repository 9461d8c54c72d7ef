'use strict';
// The parser. Its text is read byte by byte: the few characters beyond Latin-1 stand in comments, and
// with them V8 would keep all of it in two bytes a character.

const fs = require('node:fs');
const Module = require('node:module');

const FILE = '/opt/node/node_modules/acorn/dist/acorn.js';

const parser = new Module(FILE, null);
parser.filename = FILE;
parser._compile(fs.readFileSync(FILE, 'latin1'), FILE);

module.exports = parser.exports;
