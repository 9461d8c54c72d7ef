'use strict';
// require, import and import(): resolved from the working directory of the context, as for a script
// that lies there.

const path = require('node:path');
const vm = require('node:vm');
const Module = require('node:module');
const { pathToFileURL } = require('node:url');
const { quietly } = require('./quietly');

function cwd() {
  try {
    return process.cwd();
  } catch { // it was removed
    return '/';
  }
}

const importers = new Map(); // directory -> function
const requires = new Map();

function importer() {
  const dir = cwd();
  let found = importers.get(dir);
  if (!found) {
    const script = quietly(() => new vm.Script('(specifier, options) => import(specifier, options)', {
      filename: path.join(dir, 'cell.mjs'),
      importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
    }));
    found = script.runInThisContext();
    importers.set(dir, found);
  }
  return found;
}

let hooked = false;

function hookOnce() {
  if (!hooked) require('./typescript').installHooks();
  hooked = true;
}

function load(specifier, options) {
  hookOnce();
  return quietly(() => importer()(specifier, options));
}

function requireHere() {
  hookOnce();
  const dir = cwd();
  let found = requires.get(dir);
  if (!found) {
    found = Module.createRequire(path.join(dir, 'cell.js'));
    requires.set(dir, found);
  }
  return found;
}

/** import.meta of a cell. */
const meta = {
  get url() { return pathToFileURL(path.join(cwd(), 'cell.mjs')).href; },
  get dirname() { return cwd(); },
  get filename() { return path.join(cwd(), 'cell.mjs'); },
  get main() { return true; },
  resolve(specifier) {
    if (Module.isBuiltin(specifier)) return specifier.startsWith('node:') ? specifier : `node:${specifier}`;
    if (/^[a-z][a-z0-9+.-]*:/i.test(specifier)) return new URL(specifier).href;
    return pathToFileURL(requireHere().resolve(specifier)).href;
  },
};

/**
 * Values of the names that an import declaration binds. A name that the module lacks is an error as
 * in Node, but for CommonJS modules its exports are asked, and in TypeScript it may be a type.
 */
function bind(namespace, declaration, typesAllowed) {
  const values = [];
  for (const { local, imported } of declaration.names) {
    if (imported === null) values.push([local, namespace]);
    else if (imported in namespace) values.push([local, namespace[imported]]);
    else if (isMember(namespace.default, imported)) values.push([local, namespace.default[imported]]);
    else if (!typesAllowed) {
      throw new SyntaxError(`The requested module '${declaration.source}' does not provide an export named '${imported}'`);
    }
  }
  return values;
}

function isMember(value, name) {
  return value !== null && (typeof value === 'object' || typeof value === 'function') && name in value;
}

/** The names that a CommonJS script has besides the globals. */
function installGlobals(target) {
  const own = new Module('cell', null);
  const define = (name, descriptor) => {
    Object.defineProperty(target, name, { configurable: true, enumerable: false, ...descriptor });
  };
  const lazily = (name, get) => define(name, {
    get,
    set(value) { define(name, { value, writable: true }); },
  });
  lazily('require', requireHere);
  lazily('__dirname', cwd);
  lazily('__filename', () => path.join(cwd(), 'cell.js'));
  lazily('module', () => {
    own.filename = path.join(cwd(), 'cell.js');
    own.paths = Module._nodeModulePaths(cwd());
    return own;
  });
  lazily('exports', () => own.exports);
}

module.exports = { load, meta, bind, cwd, installGlobals };
