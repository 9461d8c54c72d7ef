'use strict';
// Worker thread: TypeScript's language service over the cells of a context. Diagnostics go back to
// the main thread; completion and inspection are answered from here, for the main thread may be
// busy.
//
// Each cell is a module of its own: what it uses of earlier cells is imported from the last one that
// declared it, on the line before its text. So a name may be declared again, with another type.

const fs = require('node:fs');
const path = require('node:path');
const { parentPort, workerData } = require('node:worker_threads');
const ts = require('/opt/node/node_modules/typescript');
const native = require('../cbx-node.node');
const expression = require('./expression');

const DONE = 41;
const GLOBALS = path.join(__dirname, 'globals.d.ts');
const TYPE_ROOTS = '/opt/node/node_modules/@types';
const CELLS_MAX = 1000;

// In a module of its own, a cell may assign to a name of another one and need not use what it has.
const IGNORED = new Set([2632, 6133, 6192, 6196]);

const cells = new Map(); // file name -> {text, version, names}
const owners = new Map(); // name -> file name of the last cell that declared it
let cwd = workerData.cwd;
let version = 0;

function options() {
  const base = {
    target: ts.ScriptTarget.ESNext, module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler,
    lib: ['lib.esnext.d.ts'], types: ['node'], typeRoots: [path.join(cwd, 'node_modules/@types'), TYPE_ROOTS],
    strict: true, noEmit: true, skipLibCheck: true, esModuleInterop: true, resolveJsonModule: true, allowJs: true,
    allowImportingTsExtensions: true, allowUnreachableCode: true, allowUnusedLabels: true, moduleDetection: ts.ModuleDetectionKind.Force,
    jsx: ts.JsxEmit.React,
  };
  const { config } = ts.readConfigFile(path.join(cwd, 'tsconfig.json'), ts.sys.readFile);
  if (!config) return base;
  const { options: own } = ts.convertCompilerOptionsFromJson(config.compilerOptions ?? {}, cwd);
  for (const name of ['noEmit', 'target', 'module', 'moduleResolution', 'outDir', 'rootDir', 'noUnusedLocals', 'noUnusedParameters', 'isolatedModules', 'verbatimModuleSyntax', 'declaration', 'composite', 'incremental']) delete own[name];
  return { ...base, ...own };
}

let compilerOptions = options();

const host = {
  getCompilationSettings: () => compilerOptions,
  getScriptFileNames: () => [GLOBALS, ...cells.keys()],
  getScriptVersion: (file) => String(cells.get(file)?.version ?? modified(file)),
  getScriptSnapshot(file) {
    const text = cells.get(file)?.full ?? ts.sys.readFile(file);
    return text === undefined ? undefined : ts.ScriptSnapshot.fromString(text);
  },
  getCurrentDirectory: () => cwd,
  getDefaultLibFileName: (o) => ts.getDefaultLibFilePath(o),
  fileExists: (file) => cells.has(file) || ts.sys.fileExists(file),
  readFile: (file) => cells.get(file)?.full ?? ts.sys.readFile(file),
  readDirectory: ts.sys.readDirectory,
  directoryExists: ts.sys.directoryExists,
  getDirectories: ts.sys.getDirectories,
  realpath: ts.sys.realpath,
};

function modified(file) {
  try {
    return fs.statSync(file).mtimeMs;
  } catch {
    return 0;
  }
}

const service = ts.createLanguageService(host, ts.createDocumentRegistry());

function* bindingNames(name) {
  if (ts.isIdentifier(name)) yield name.text;
  else for (const e of name.elements) if (ts.isBindingElement(e)) yield* bindingNames(e.name);
}

/** Names that the statements of a cell declare. */
function declaredNames(source) {
  const names = new Set();
  for (const s of source.statements) {
    if (ts.isVariableStatement(s)) for (const d of s.declarationList.declarations) for (const n of bindingNames(d.name)) names.add(n);
    else if (ts.isImportDeclaration(s)) {
      const clause = s.importClause;
      if (clause?.name) names.add(clause.name.text);
      const bindings = clause?.namedBindings;
      if (bindings && ts.isNamespaceImport(bindings)) names.add(bindings.name.text);
      else if (bindings) for (const e of bindings.elements) names.add(e.name.text);
    } else if (s.name && ts.isIdentifier(s.name)) names.add(s.name.text);
  }
  return names;
}

function usedNames(source) {
  const used = new Set();
  const visit = (node) => {
    if (ts.isIdentifier(node)) used.add(node.text);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return used;
}

/** The module of a cell: {full, shift}; `shift` characters stand before its text. */
function moduleOf(text, file) {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ESNext, true);
  const names = declaredNames(source);
  const imports = new Map();
  for (const name of usedNames(source)) {
    const owner = owners.get(name);
    if (!owner || owner === file || names.has(name)) continue;
    if (!imports.has(owner)) imports.set(owner, []);
    imports.get(owner).push(name);
  }
  const head = [...imports].map(([owner, list]) => `import { ${list.join(', ')} } from ${JSON.stringify(`./${path.basename(owner)}`)};`).join(' ');
  const exported = new Set();
  for (const s of source.statements) if (s.modifiers?.some((m) => m.kind === ts.SyntaxKind.ExportKeyword)) for (const n of declaredNames({ statements: [s] })) exported.add(n);
  const exports = [...names].filter((n) => !exported.has(n));
  return { full: `${head}\n${text}\nexport { ${exports.join(', ')} };`, shift: head.length + 1, names };
}

function fileOf(name) {
  return path.join(cwd, `.cellbox-${name}`);
}

function put(name, text) {
  const file = fileOf(name);
  cells.set(file, { text, version: ++version, ...moduleOf(text, file) });
  if (cells.size > CELLS_MAX) {
    const [oldest, { names }] = cells.entries().next().value;
    cells.delete(oldest);
    for (const n of names) if (owners.get(n) === oldest) owners.delete(n);
  }
  return file;
}

function commit(file) {
  for (const n of cells.get(file).names) owners.set(n, file);
}

function diagnostics(name, text, mode) {
  const file = put(name, text);
  const cell = cells.get(file);
  const found = [...service.getSyntacticDiagnostics(file), ...service.getSemanticDiagnostics(file)];
  const lines = ts.createSourceFile(file, text, ts.ScriptTarget.ESNext);
  const place = (offset) => {
    const { line, character } = lines.getLineAndCharacterOfPosition(Math.max(0, Math.min(offset, text.length)));
    return { line: line + 1, column: character + 1 };
  };
  const shown = found.filter((d) => !IGNORED.has(d.code) && d.start >= cell.shift && d.start <= cell.shift + text.length).map((d) => ({
    code: d.code,
    category: ['warning', 'error', 'suggestion', 'message'][d.category],
    message: ts.flattenDiagnosticMessageText(d.messageText, '\n'),
    file: name,
    start: place(d.start - cell.shift),
    end: place(d.start - cell.shift + (d.length ?? 0)),
  }));
  if (mode !== 'error' || !shown.some((d) => d.category === 'error')) commit(file); // else it will not run
  return shown;
}

const KINDS = { method: 'function', function: 'function', class: 'class', interface: 'interface', module: 'module', keyword: 'keyword', property: 'property', getter: 'property' };

function complete(code, cursor) {
  const at = expression.indexOf(code, cursor);
  const file = put('question.ts', code);
  const { shift } = cells.get(file);
  const found = service.getCompletionsAtPosition(file, at + shift, { includeCompletionsForModuleExports: false });
  let from = at;
  while (from > 0 && /[\p{ID_Continue}$]/u.test(code[from - 1])) from--;
  const prefix = code.slice(from, at);
  const entries = (found?.entries ?? []).filter((e) => e.name.startsWith(prefix) && !e.name.startsWith('__cellbox')).slice(0, 1000);
  const start = expression.codePoints(code, from), end = expression.codePoints(code, at);
  return {
    status: 'ok',
    matches: entries.map((e) => e.name),
    cursor_start: start,
    cursor_end: end,
    metadata: { _jupyter_types_experimental: entries.map((e) => ({ text: e.name, type: KINDS[e.kind] ?? 'instance', start, end })) },
  };
}

function inspect(code, cursor) {
  const at = expression.indexOf(code, cursor);
  const file = put('question.ts', code);
  const { shift } = cells.get(file);
  const info = service.getQuickInfoAtPosition(file, at + shift) ?? (at > 0 ? service.getQuickInfoAtPosition(file, at + shift - 1) : undefined);
  if (!info) return { status: 'ok', found: false, data: {}, metadata: {} };
  const parts = [ts.displayPartsToString(info.displayParts), ts.displayPartsToString(info.documentation)];
  for (const tag of info.tags ?? []) parts.push(`@${tag.name} ${ts.displayPartsToString(tag.text)}`);
  return { status: 'ok', found: true, data: { 'text/plain': parts.filter(Boolean).join('\n\n') }, metadata: {} };
}

function answer(req, make) {
  let content, status = 0;
  try {
    content = make();
  } catch (e) {
    content = { status: 'error', ename: e.name, evalue: e.message, traceback: [] };
    status = 1;
  }
  native.reply(DONE, status, req, [JSON.stringify(content)]);
}

parentPort.on('message', (m) => {
  if (m.cwd && m.cwd !== cwd) {
    cwd = m.cwd;
    compilerOptions = options();
  }
  switch (m.kind) {
    case 'cell': commit(put(m.name, m.text)); break;
    case 'check': {
      let found;
      try {
        found = diagnostics(m.name, m.text, m.mode);
      } catch (e) {
        found = [{ code: 0, category: 'warning', message: `the type check failed: ${e.message}`, file: m.name, start: { line: 1, column: 1 }, end: { line: 1, column: 1 } }];
      }
      parentPort.postMessage({ id: m.id, found });
      break;
    }
    case 'complete': answer(m.req, () => complete(m.code, m.cursor)); break;
    case 'inspect': answer(m.req, () => inspect(m.code, m.cursor)); break;
  }
});
