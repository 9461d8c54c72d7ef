'use strict';
// From the text of a cell to a script that V8's REPL mode runs, by acorn's syntax tree.
//
// A script cannot import, V8 refuses to redeclare a name of another kind, and an await cannot be
// given up from outside. So: static imports are taken out and loaded first; import() goes through
// the loader; `const` becomes `let` (what assigns to it is made to throw); a declaration takes the
// kind that its name already has; a top-level await goes through a function that an interrupt can
// reject. Edits keep lines; columns are mapped back.

const acorn = require('./acorn');
const { OPTIONS } = require('./options');

const FUNCTIONS = new Set(['FunctionDeclaration', 'FunctionExpression', 'ArrowFunctionExpression']);
const LOOPS = new Set(['ForStatement', 'ForInStatement', 'ForOfStatement']);

/** A `{` that begins the last statement is an object literal where that is possible. */
class CellParser extends acorn.Parser {
  parseStatement(context, topLevel, exports) {
    if (topLevel && this.type === acorn.tokTypes.braceL && this.isLastObject()) {
      const node = this.startNode();
      node.expression = this.parseExpression();
      node.literal = true;
      this.semicolon();
      return this.finishNode(node, 'ExpressionStatement');
    }
    return super.parseStatement(context, topLevel, exports);
  }

  isLastObject() {
    let node;
    try {
      node = acorn.parseExpressionAt(this.input, this.start, this.options);
    } catch {
      return false;
    }
    if (node.type !== 'ObjectExpression') return false;
    // `{}` and `{ name }` after other statements are more likely blocks
    const plain = node.properties.every((p) => p.shorthand);
    if (plain && this.input.slice(0, this.start).trim() !== '') return false;
    return onlyTrivia(this.input, node.end);
  }
}

/** Whether nothing but comments and semicolons follow. */
function onlyTrivia(code, from) {
  try {
    for (const token of acorn.tokenizer(code.slice(from), OPTIONS)) {
      if (token.type !== acorn.tokTypes.semi) return false;
    }
    return true;
  } catch {
    return false;
  }
}

function parse(code) {
  return CellParser.parse(code, OPTIONS);
}

/** `f<T>(x)` is two comparisons to JavaScript and a call to TypeScript. */
function looksGeneric(node) {
  return node.type === 'BinaryExpression' && node.operator === '>' &&
    node.left.type === 'BinaryExpression' && node.left.operator === '<';
}

/** Whether the text means the same to both languages: no types in it. */
class Typed extends Error {}

/** Names bound by a pattern. */
function* patternNames(node) {
  if (!node) return;
  switch (node.type) {
    case 'Identifier': yield node.name; break;
    case 'ObjectPattern':
      for (const p of node.properties) yield* patternNames(p.type === 'RestElement' ? p.argument : p.value);
      break;
    case 'ArrayPattern': for (const e of node.elements) yield* patternNames(e); break;
    case 'AssignmentPattern': yield* patternNames(node.left); break;
    case 'RestElement': yield* patternNames(node.argument); break;
  }
}

function* declaredNames(node) {
  if (node.type === 'VariableDeclaration') {
    for (const d of node.declarations) yield* patternNames(d.id);
  } else if (node.id) {
    yield node.id.name;
  }
}

function children(node) {
  const found = [];
  for (const key in node) {
    const value = node[key];
    if (value === null || typeof value !== 'object') continue;
    if (Array.isArray(value)) {
      for (const one of value) if (one && typeof one.type === 'string') found.push(one);
    } else if (typeof value.type === 'string') {
      found.push(value);
    }
  }
  return found;
}

/** Whether a scope between the program and an identifier declares that name. */
function isShadowed(name, ancestors) {
  for (let i = ancestors.length - 1; i > 0; i--) {
    if (scopeDeclares(ancestors[i], name)) return true;
  }
  return false;
}

function scopeDeclares(node, name) {
  const has = (names) => { for (const n of names) if (n === name) return true; return false; };
  if (FUNCTIONS.has(node.type)) {
    if (node.id && node.type === 'FunctionExpression' && node.id.name === name) return true;
    return node.params.some((p) => has(patternNames(p))) || declaresVar(node.body, name);
  }
  if (node.type === 'CatchClause') return has(patternNames(node.param));
  if (node.type === 'ClassExpression') return node.id?.name === name;
  if (LOOPS.has(node.type)) {
    const head = node.init ?? node.left;
    return head?.type === 'VariableDeclaration' && head.kind !== 'var' && has(declaredNames(head));
  }
  const body = node.type === 'BlockStatement' || node.type === 'StaticBlock' ? node.body
    : node.type === 'SwitchStatement' ? node.cases.flatMap((c) => c.consequent) : [];
  return body.some((s) => isLexical(s) && has(declaredNames(s)));
}

function isLexical(node) {
  return node.type === 'ClassDeclaration' || node.type === 'FunctionDeclaration' ||
    (node.type === 'VariableDeclaration' && node.kind !== 'var');
}

function declaresVar(node, name) {
  if (node.type === 'VariableDeclaration' && node.kind === 'var') {
    for (const n of declaredNames(node)) if (n === name) return true;
  }
  for (const child of children(node)) if (!FUNCTIONS.has(child.type) && declaresVar(child, name)) return true;
  return false;
}

/** Text with edits that keep its lines, and the way back from an offset in the result. */
class Edits {
  constructor(text) {
    this.text = text;
    this.list = [];
  }

  replace(start, end, text) { this.list.push({ start, end, text, order: this.list.length }); }
  insert(at, text) { this.replace(at, at, text); }

  blank(start, end) {
    let text = '';
    for (const c of this.text.slice(start, end)) text += c === '\n' || c === '\r' || c === '\u2028' || c === '\u2029' ? c : ' '.repeat(c.length);
    this.replace(start, end, text);
  }

  apply() {
    if (!this.list.length) return this.text;
    this.list.sort((a, b) => a.start - b.start || a.order - b.order);
    let out = '', at = 0;
    for (const e of this.list) {
      out += this.text.slice(at, e.start) + e.text;
      e.out = out.length; // offset in the result where the rest of the text goes on
      at = e.end;
    }
    return out + this.text.slice(at);
  }

  /** After apply(): offset in the result -> offset in the text. */
  original(offset) {
    let shift = 0;
    for (const e of this.list) {
      const begins = e.out - e.text.length;
      if (offset < begins) break;
      if (offset < e.out) return Math.min(e.start + (offset - begins), e.end);
      shift = e.end - e.out;
    }
    return offset + shift;
  }
}

class Rewriter {
  /** names: Map name -> "let" | "var" of earlier cells; consts: Set of names that must not be assigned. */
  constructor(code, names, consts, id, untyped) {
    this.untyped = untyped;
    this.code = code;
    this.names = names;
    this.consts = consts;
    this.id = id;
    this.edits = new Edits(code);
    this.imports = [];
    this.declared = new Map(); // name -> kind that the script declares it as
    this.newConsts = new Set();
    this.hoisted = [];
    this.hasAwait = false;
    this.result = false;
  }

  run() {
    const tree = parse(this.code);
    if (this.code.startsWith('#!')) this.edits.blank(0, this.code.search(/[\r\n\u2028\u2029]|$/));
    for (const node of tree.body) this.topLevel(node);
    this.walk(tree, [], false);
    this.markResult(tree.body);
    return this;
  }

  // Statements of the program

  topLevel(node) {
    switch (node.type) {
      case 'ImportDeclaration': this.takeImport(node); break;
      case 'ExportNamedDeclaration':
        if (node.declaration) {
          this.edits.blank(node.start, node.declaration.start);
          this.topLevel(node.declaration);
        } else if (node.source) this.takeReexport(node);
        else this.edits.blank(node.start, node.end);
        break;
      case 'ExportAllDeclaration': this.takeReexport(node); break;
      case 'ExportDefaultDeclaration': this.exportDefault(node); break;
      case 'VariableDeclaration': this.variables(node); break;
      case 'ClassDeclaration': this.classDeclaration(node); break;
      case 'FunctionDeclaration': this.functionDeclaration(node); break;
    }
  }

  takeImport(node) {
    const attributes = {};
    for (const a of node.attributes ?? []) attributes[a.key.name ?? a.key.value] = a.value.value;
    const names = node.specifiers.map((s) => ({
      local: s.local.name,
      imported: s.type === 'ImportDefaultSpecifier' ? 'default'
        : s.type === 'ImportNamespaceSpecifier' ? null : s.imported.name ?? s.imported.value,
    }));
    this.imports.push({ source: node.source.value, attributes, names, at: node.start });
    for (const { local } of names) {
      this.declared.set(local, this.names.get(local) ?? 'let');
      this.newConsts.add(local);
    }
    this.edits.blank(node.start, node.end);
  }

  takeReexport(node) {
    this.imports.push({ source: node.source.value, attributes: {}, names: [], at: node.start });
    this.edits.blank(node.start, node.end);
  }

  exportDefault(node) {
    const what = node.declaration;
    this.edits.blank(node.start, what.start);
    if ((what.type === 'FunctionDeclaration' || what.type === 'ClassDeclaration') && !what.id) {
      this.edits.insert(what.start, '(');
      this.edits.insert(what.end, ')');
    } else {
      this.topLevel(what);
    }
  }

  variables(node) {
    if (node.kind === 'using' || node.kind === 'await using') {
      for (const name of declaredNames(node)) this.declare(name, 'let', true);
      return;
    }
    const earlier = [...declaredNames(node)].map((n) => this.names.get(n)).filter(Boolean);
    const wanted = node.kind === 'var' ? 'var' : 'let';
    const kind = earlier.length && !earlier.includes(wanted) ? earlier[0] : wanted;
    if (kind !== node.kind) this.edits.replace(node.start, node.start + node.kind.length, kind.padEnd(node.kind.length));
    for (const name of declaredNames(node)) this.declare(name, kind, node.kind === 'const');
  }

  declare(name, kind, constant) {
    this.declared.set(name, kind);
    if (constant) this.newConsts.add(name);
  }

  classDeclaration(node) {
    const name = node.id.name;
    if (this.names.get(name) === 'var') {
      this.edits.insert(node.start, `var ${name}=`);
      this.edits.insert(node.end, ';');
      this.declare(name, 'var');
    } else {
      this.declare(name, 'let');
    }
  }

  /** Where the name is a `let`, the function is assigned to it before everything else. */
  functionDeclaration(node) {
    const name = node.id.name;
    if (this.names.get(name) === 'let') {
      this.hoisted.push(node);
      this.declare(name, 'let');
      this.hoistedNames = (this.hoistedNames ?? new Set()).add(name);
    } else {
      this.declare(name, 'var');
    }
  }

  // Everything below

  walk(node, ancestors, inFunction) {
    this.visit(node, ancestors, inFunction);
    ancestors.push(node);
    const inside = inFunction || FUNCTIONS.has(node.type) || node.type === 'PropertyDefinition' || node.type === 'StaticBlock';
    for (const child of children(node)) this.walk(child, ancestors, inside);
    ancestors.pop();
  }

  visit(node, ancestors, inFunction) {
    if (this.untyped && looksGeneric(node)) throw new Typed();
    switch (node.type) {
      case 'AwaitExpression':
        if (!inFunction) {
          this.hasAwait = true;
          this.edits.insert(node.argument.start, '__cellbox.wait(');
          this.edits.insert(node.argument.end, ')');
        }
        break;
      case 'ForOfStatement':
        if (node.await && !inFunction) {
          this.hasAwait = true;
          this.edits.insert(node.right.start, '__cellbox.waitEach(');
          this.edits.insert(node.right.end, ')');
        }
        break;
      case 'ImportExpression':
        this.edits.replace(node.start, node.start + 6, '__cellbox.import');
        break;
      case 'MetaProperty':
        if (node.meta.name === 'import') this.edits.replace(node.start, node.end, '__cellbox.meta');
        break;
      case 'AssignmentExpression': this.assigned(node.left, ancestors, node); break;
      case 'UpdateExpression': this.assigned(node.argument, ancestors, node); break;
      case 'VariableDeclaration':
        if (node.kind === 'var' && !inFunction && ancestors.length > 1) this.nestedVar(node, ancestors);
        break;
    }
    if ((node.type === 'ForOfStatement' || node.type === 'ForInStatement') && node.left.type !== 'VariableDeclaration') {
      this.assigned(node.left, ancestors, node);
    }
  }

  assigned(target, ancestors, node) {
    for (const id of targetIdentifiers(target)) {
      const name = id.name;
      const constant = this.newConsts.has(name) || (this.consts.has(name) && !this.declared.has(name));
      if (constant && !isShadowed(name, [...ancestors, node])) this.edits.insert(id.start, '__cellbox.constant.');
    }
  }

  /** A `var` in a block or loop whose name is a `let` of an earlier cell: an assignment to that. */
  nestedVar(node, ancestors) {
    const names = [...declaredNames(node)];
    const parent = ancestors.at(-1);
    if (parent.type.startsWith('Export') || parent.type === 'Program') return;
    if (!names.some((n) => (this.names.get(n) ?? this.declared.get(n)) === 'let')) {
      for (const name of names) this.declare(name, 'var');
      return;
    }
    if (LOOPS.has(parent.type) && parent.body !== node) {
      this.edits.blank(node.start, node.start + 3);
    } else {
      this.edits.replace(node.start, node.start + 3, 'void(');
      this.edits.insert(node.declarations.at(-1).end, ')');
    }
  }

  /** The value of the last statement, where that is an expression. */
  markResult(body) {
    let last = body.length - 1;
    while (last >= 0 && body[last].type === 'EmptyStatement') last--;
    let node = body[last];
    if (node?.type === 'ExportDefaultDeclaration' && !/Declaration$/.test(node.declaration.type)) {
      node = { type: 'ExpressionStatement', expression: node.declaration };
    }
    if (node?.type !== 'ExpressionStatement') return;
    const { start, end } = node.expression;
    // before the edits of what is inside: this one is the outer one
    this.edits.list.unshift({ start, end: start, text: `__cellbox.result(${this.id},`, order: -1 });
    this.edits.insert(end, ')');
    if (node.expression.type === 'SequenceExpression') {
      this.edits.list.unshift({ start, end: start, text: '(', order: -0.5 });
      this.edits.insert(end, ')');
    }
    this.result = true;
  }

  /** Functions that are assigned first: a script of the same lines with nothing else in it. */
  takeHoisted() {
    if (!this.hoisted.length) return null;
    const script = new Edits(this.code);
    let at = 0;
    for (const node of this.hoisted) {
      script.blank(at, node.start);
      script.insert(node.start, `${node.id.name}=`);
      script.insert(node.end, ';');
      at = node.end;
      const isInside = (e) => e.start >= node.start && e.end <= node.end;
      script.list.push(...this.edits.list.filter(isInside));
      this.edits.list = this.edits.list.filter((e) => !isInside(e));
      this.edits.blank(node.start, node.end);
    }
    script.blank(at, this.code.length);
    return script;
  }
}

function* targetIdentifiers(node) {
  switch (node?.type) {
    case 'Identifier': yield node; break;
    case 'ObjectPattern':
      for (const p of node.properties) {
        if (p.type === 'RestElement') yield* targetIdentifiers(p.argument);
        else if (!p.shorthand) yield* targetIdentifiers(p.value);
      }
      break;
    case 'ArrayPattern': for (const e of node.elements) yield* targetIdentifiers(e); break;
    case 'AssignmentPattern': yield* targetIdentifiers(node.left); break;
    case 'RestElement': yield* targetIdentifiers(node.argument); break;
  }
}

/**
 * One cell. Throws acorn's SyntaxError; with `untyped`, Typed where TypeScript would read the text in
 * another way. Returns {code, hoisted, imports, declared, constants,
 * original(offset)}; `hoisted` (text or null) is to be run before `code`.
 */
function rewrite(text, names, consts, id, untyped = false) {
  const r = new Rewriter(text, names, consts, id, untyped).run();
  const hoisted = r.takeHoisted();
  const code = r.edits.apply();
  return {
    code,
    hoisted: hoisted && hoisted.apply(),
    imports: r.imports,
    declared: r.declared,
    constants: r.newConsts,
    hasResult: r.result,
    original: (offset) => r.edits.original(offset),
  };
}

module.exports = { rewrite, parse, patternNames };
