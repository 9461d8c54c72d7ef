'use strict';
// TypeScript to JavaScript: Node strips types in place, so that positions stay. What is not erasable
// (enums, namespaces, parameter properties, decorators) goes through the TypeScript compiler, with
// a source map.

const fs = require('node:fs');
const Module = require('node:module');
const { fileURLToPath } = require('node:url');
const { quietly } = require('./quietly');

const COMPILER = '/opt/node/node_modules/typescript/lib/typescript.js';

let compiler;

function typescript() {
  compiler ??= require(COMPILER);
  return compiler;
}

function strip(code) {
  return quietly(() => Module.stripTypeScriptTypes(code));
}

function transpile(code, name) {
  const ts = typescript();
  const { outputText, sourceMapText, diagnostics } = ts.transpileModule(code, {
    fileName: name,
    reportDiagnostics: true,
    compilerOptions: {
      target: ts.ScriptTarget.ES2022, // the newest that has no decorators: later ones leave them alone
      module: ts.ModuleKind.ESNext,
      jsx: ts.JsxEmit.React,
      sourceMap: true,
      verbatimModuleSyntax: true,
      useDefineForClassFields: true,
      experimentalDecorators: usesLegacyDecorators(ts),
    },
  });
  const wrong = diagnostics?.find((d) => d.category === ts.DiagnosticCategory.Error);
  if (wrong) throw syntaxError(ts, code, wrong);
  let map;
  return {
    code: outputText.replace(/\n?\/\/# sourceMappingURL=.*\s*$/, ''),
    position(line, column) {
      map ??= new Module.SourceMap(JSON.parse(sourceMapText));
      const entry = map.findEntry(line - 1, column - 1);
      if (entry.originalLine === undefined) return { line, column };
      return { line: entry.originalLine + 1, column: entry.originalColumn + 1 };
    },
  };
}

/** A tsconfig.json in the working directory may ask for the older decorators. */
function usesLegacyDecorators(ts) {
  const { config } = ts.readConfigFile('tsconfig.json', (file) => ts.sys.readFile(file));
  return config?.compilerOptions?.experimentalDecorators === true;
}

function syntaxError(ts, code, diagnostic) {
  const e = new SyntaxError(ts.flattenDiagnosticMessageText(diagnostic.messageText, '\n'));
  const before = code.slice(0, diagnostic.start ?? 0);
  e.line = before.split('\n').length;
  e.column = before.length - before.lastIndexOf('\n');
  return e;
}

/**
 * {code, position(line, column)}: the JavaScript and the way back to the text. Throws SyntaxError
 * with line and column (1-based) where the text is no TypeScript.
 */
function toJavaScript(text, name) {
  try {
    return { code: strip(text), position: (line, column) => ({ line, column }) };
  } catch {
    // not erasable, or wrong, which the compiler says better; or Node's stripper met a builtin that
    // the user has declared anew
    return transpile(text, name);
  }
}

/** Where the compiler's parser stops: {start} of the first error, undefined: the text is whole. */
function firstError(code) {
  try {
    strip(code);
    return undefined;
  } catch { /* the compiler knows where */ }
  const ts = typescript();
  const { diagnostics } = ts.transpileModule(code, { reportDiagnostics: true, compilerOptions: { target: ts.ScriptTarget.ESNext, module: ts.ModuleKind.ESNext } });
  const first = diagnostics?.find((d) => d.category === ts.DiagnosticCategory.Error);
  return first && { start: first.start ?? 0 };
}

/** Modules in TypeScript files, with the same fallback. */
function installHooks() {
  Module.registerHooks({
    load(url, context, next) {
      try {
        const loaded = next(url, context);
        if (loaded.format?.endsWith('-typescript') && loaded.source) strip(String(Buffer.from(loaded.source)));
        return loaded;
      } catch (e) {
        if (e?.code !== 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX' || !url.startsWith('file:')) throw e;
        const file = fileURLToPath(url);
        const { code } = transpile(fs.readFileSync(file, 'utf8'), file);
        return { format: file.endsWith('.cts') || !isModule(code, file) ? 'commonjs' : 'module', source: code, shortCircuit: true };
      }
    },
  });
}

function isModule(code, file) {
  if (file.endsWith('.mts')) return true;
  return require('./rewrite').parse(code).body.some((node) => /^(Import|Export)/.test(node.type));
}

module.exports = { toJavaScript, transpile, firstError, strip, typescript, installHooks };
