'use strict';
// The parser, from the image.

module.exports = require('/opt/node/node_modules/acorn/dist/acorn.js');
