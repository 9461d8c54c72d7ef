'use strict';
// The program that init executes for a JavaScript or TypeScript context.

const { Runner } = require('./runner');

new Runner().start();
