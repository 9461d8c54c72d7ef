"""What cells of JavaScript and TypeScript contexts give: code, and everything that must come of it.

Each list is run in order in a context of its own, through every door.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Cell:
    code: str
    value: str | None = None  # text/plain of the result; None: there must be no result
    out: str = ""
    err: str | None = ""  # None: anything
    mimes: set[str] = field(default_factory=set)  # of the result, besides text/plain
    shown: list[set[str]] = field(default_factory=list)  # MIME types of each display
    error: str | None = None  # name
    message: str | None = None  # part of the error's message
    trace: tuple[str, ...] = ()  # parts of the traceback


JSON = {"application/json"}

REPL = [
    Cell("1 + 1", "2"),
    Cell("let x = 1; x", "1"),
    Cell("let x = 2; x", "2"),
    Cell("const x = 3; x", "3"),
    Cell("x = 4", error="TypeError", message="Assignment to constant variable"),
    Cell("x", "3"),
    Cell("{ let x = 9; x = 10 } x", "3"),
    Cell("(function (x) { x = 5; return x })(1)", "5"),
    Cell("let x = 5; x = 6; x", "6"),
    Cell("var x = 7; x", "7"),
    Cell("function x() { return 8 }\nx()", "8"),
    Cell("class x {}; typeof x", "'function'"),
    Cell("var v = 1"),
    Cell("let v = 2; v", "2"),
    Cell("const v = 3; v", "3"),
    Cell("function f() { return 1 }\nf()", "1"),
    Cell("const f = () => 2; f()", "2"),
    Cell("f2(); function f2() { return 'hoisted' }"),
    Cell("async function f() { return 3 }\nawait f()", "3"),
    Cell("class A { #p = 1; get p() { return this.#p } }\nnew A().p", "1"),
    Cell("class A { q = 2 }\nnew A()", "A { q: 2 }", mimes=set()),
    Cell("if (true) { var inBlock = 'kept' }"),
    Cell("inBlock", "'kept'"),
    Cell("for (var i = 0; i < 3; i++);\ni", "3"),
    Cell("let i = 10; i", "10"),
    Cell("for (var i = 0; i < 2; i++);\ni", "2"),
    Cell(
        "const { a, b: [c, ...d], ...e } = { a: 1, b: [2, 3, 4], z: 5 }; [a, c, d, e]",
        mimes=JSON,
        value="[ 1, 2, [ 3, 4 ], { z: 5 } ]",
    ),
    Cell("{ a: 1, b: 2 }", "{ a: 1, b: 2 }", mimes=JSON),
    Cell("{}", "{}", mimes=JSON),
    Cell("const k = 1\n{ k: k, l: 2 }", "{ k: 1, l: 2 }", mimes=JSON),
    Cell("{ const hidden = 1 }"),
    Cell("typeof hidden", "'undefined'"),
    Cell("if (1) { 5 }"),
    Cell("1; let last = 2"),
    Cell("1, 2", "2"),
    Cell("// nothing"),
    Cell(""),
    Cell("'use strict'; (function () { return this })()"),
    Cell("undefined"),
    Cell("null", "null"),
    Cell("return 5", error="SyntaxError", message="Illegal return"),
    Cell("const c9 = 9; throw new RangeError('after')", error="RangeError", message="after"),
    Cell("c9", "9"),
    Cell("_ + 1", "10"),
    Cell("#!/usr/bin/env node\n42", "42"),
    Cell("a:\nfor (;;) { break a }"),
    Cell("export const exported = 11; exported", "11"),
    Cell("export default exported * 2", "22"),
]

AWAIT = [
    Cell("await 1", "1"),
    Cell("const w = await new Promise((r) => setTimeout(() => r('late'), 5)); w", "'late'"),
    Cell("for await (const n of (async function* () { yield 1; yield 2 })()) console.log(n)", out="1\n2\n"),
    Cell("for await (const n of [Promise.resolve('p'), 'q']) console.log(n)", out="p\nq\n"),
    Cell("await Promise.all([1, Promise.resolve(2)])", "[ 1, 2 ]", mimes=JSON),
    Cell("Promise.resolve(3)", "Promise { 3 }"),
    Cell("await Promise.reject(new TypeError('rejected'))", error="TypeError", message="rejected"),
    Cell(
        "try { await Promise.reject(1) } catch (e) { console.log('caught', e) } finally { console.log('done') }",
        out="caught 1\ndone\n",
    ),
    Cell("setTimeout(() => console.log('timer'), 1); await new Promise((r) => setTimeout(r, 20))", out="timer\n"),
    Cell("await null; await undefined; await { then(r) { r('thenable') } }", "'thenable'"),
    Cell(
        "async function inner() { await null; throw new Error('deep') }\nawait inner()",
        error="Error",
        message="deep",
        trace=("at inner (cell-11.js:1:", "at async cell-11.js:2:"),
    ),
]

MODULES = [
    Cell("import fs from 'node:fs'; typeof fs.readFileSync", "'function'"),
    Cell(
        "import { join, resolve as r } from 'path'\nimport * as os from 'os'\nimport 'node:url'\n"
        "[join('a', 'b'), typeof r, typeof os.EOL]",
        "[ 'a/b', 'function', 'string' ]",
        mimes=JSON,
    ),
    Cell("join = 1", error="TypeError", message="Assignment to constant"),
    Cell("console.log(late); import { sep as late } from 'path'", out="/\n"),
    Cell("(await import('node:os')).EOL", "'\\n'"),
    Cell("const load = () => import('node:path'); (await load()).sep", "'/'"),
    Cell("require('fs') === fs", "true"),
    Cell("typeof module + typeof exports + __dirname", "'objectobject/workspace'"),
    Cell("import.meta.dirname", "'/workspace'"),
    Cell(
        "fs.writeFileSync('m.mjs', 'export default 1; export const two = 2; export let count = 0; "
        "export function up() { count++ }')"
    ),
    Cell("import one, { two } from './m.mjs'; one + two", "3"),
    Cell(
        "fs.writeFileSync('c.cjs', 'module.exports = { three: 3, [\"f\" + 1]: 4 }'); "
        "const { three } = require('./c.cjs'); three",
        "3",
    ),
    Cell("import { f1 } from './c.cjs'; f1", "4"),
    Cell("fs.writeFileSync('d.json', '{\"j\": [1]}')"),
    Cell("import data from './d.json' with { type: 'json' }; data", "{ j: [ 1 ] }", mimes=JSON),
    Cell(
        "import { missing } from './m.mjs'", error="SyntaxError", message="does not provide an export named 'missing'"
    ),
    Cell("import x from './no-such.mjs'", error="Error", message="Cannot find module"),
    Cell("import x from 'no-such-package'", error="Error", message="no-such-package"),
    Cell(
        "fs.mkdirSync('node_modules/pkg', { recursive: true }); "
        'fs.writeFileSync(\'node_modules/pkg/package.json\', \'{"name": "pkg", "type": "module", "exports": "./i.js"}\'); '
        "fs.writeFileSync('node_modules/pkg/i.js', 'export const hello = \"from a package\"')"
    ),
    Cell("import { hello } from 'pkg'; hello", "'from a package'"),
    Cell("fs.writeFileSync('t.ts', 'export enum E { A = 5 }\\nexport const n: number = E.A')"),
    Cell("import { n } from './t.ts'; n", "5"),
    Cell(
        "fs.mkdirSync('sub', { recursive: true }); fs.writeFileSync('sub/s.mjs', 'export default \"sub\"'); process.chdir('sub')"
    ),
    Cell("import s from './s.mjs'; s + __dirname; ", "'sub/workspace/sub'"),
]

OUTPUT = [
    Cell(
        "console.log('a', { b: 1 }, [1, 2]); console.error('e'); console.warn('w'); console.info('i')",
        out="a { b: 1 } [ 1, 2 ]\ni\n",
        err="e\nw\n",
    ),
    Cell("console.log('%s is %d and %o', 'x', 5, 1)", out="x is 5 and 1\n"),
    Cell("console.group('g'); console.log('in'); console.groupEnd(); console.log('out')", out="g\n  in\nout\n"),
    Cell(
        "console.table([{ a: 1 }])",
        out="┌─────────┬───┐\n│ (index) │ a │\n├─────────┼───┤\n│ 0       │ 1 │\n└─────────┴───┘\n",
    ),
    Cell(
        "console.count(); console.count(); console.assert(false, 'no')",
        out="default: 1\ndefault: 2\n",
        err="Assertion failed: no\n",
    ),
    Cell("void process.stdout.write('no newline')", out="no newline"),
    Cell("await new Promise((r) => process.stdout.write('cb\\n', r)); process.stdout.isTTY", out="cb\n"),
    Cell("void process.stdout.write(Buffer.from('bytes\\n'))", out="bytes\n"),
    Cell(
        "import { Worker } from 'node:worker_threads';\n"
        "const side = new Worker(\"require('node:worker_threads').parentPort.postMessage(6 * 7)\", { eval: true });\n"
        "console.log(await new Promise((done) => side.once('message', done)));",
        out="42\n",
    ),
    Cell(
        "require('child_process').execSync('echo from a child; echo err >&2', { stdio: 'inherit' }); console.log('after')",
        out="from a child\nafter\n",
        err="err\n",
    ),
    Cell("require('fs').writeSync(1, 'direct\\n')", "7", out="direct\n"),
    Cell("for (let n = 0; n < 2000; n++) console.log(n)", out="".join(f"{n}\n" for n in range(2000))),
    Cell("console.log('x'.repeat(300000))", out="x" * 300000 + "\n"),
    Cell("process.stdout.fd + process.stderr.fd", "3"),
]

VALUES = [
    Cell("'text'", "'text'"),
    Cell("-0", "-0"),
    Cell("NaN", "NaN"),
    Cell("10n ** 20n", "100000000000000000000n"),
    Cell("Symbol('s')", "Symbol(s)"),
    Cell("[1, 'a', null, true]", "[ 1, 'a', null, true ]", mimes=JSON),
    Cell("({ n: NaN })", "{ n: NaN }"),
    Cell("({ big: 1n })", "{ big: 1n }"),
    Cell("const circle = {}; circle.self = circle; circle", "<ref *1> { self: [Circular *1] }"),
    Cell("new Map([['k', { v: 1 }]])", "Map(1) { 'k' => { v: 1 } }"),
    Cell("new Set([1, 2])", "Set(2) { 1, 2 }"),
    Cell("new Date(0)", "1970-01-01T00:00:00.000Z"),
    Cell("/re/g", "/re/g"),
    Cell("new Uint8Array([1, 2])", "Uint8Array(2) [ 1, 2 ]"),
    Cell("Buffer.from('hi')", "<Buffer 68 69>"),
    Cell("(x) => x", "[Function (anonymous)]"),
    Cell("class K {}; K", "[class K]"),
    Cell("[undefined, , 3]", "[ undefined, <1 empty item>, 3 ]"),
    Cell("({ get g() { return 1 } })", "{ g: [Getter] }"),
    Cell("Object.create(null)", "[Object: null prototype] {}", mimes=JSON),
    Cell(
        "new URL('http://a/b').pathname + structuredClone({ a: 1 }).a + typeof fetch + typeof crypto.subtle",
        "'/b1functionobject'",
    ),
    Cell(
        "({ [Symbol.for('nodejs.util.inspect.custom')]() { throw new Error('x') } })",
        "[value that cannot be shown: x]",
        mimes=set(),
    ),
]

RICH = [
    Cell(
        "({ [Symbol.for('Jupyter.display')]: () => ({ 'text/html': '<b>x</b>', 'text/plain': 'x' }) })",
        "x",
        mimes={"text/html"},
    ),
    Cell(
        "({ async [Symbol.for('Jupyter.display')]() { return { 'text/markdown': '*m*', 'text/plain': 'm' } } })",
        "m",
        mimes={"text/markdown"},
    ),
    Cell(
        "({ _toHtml: () => '<i>h</i>', toJSON: 1 })", "{ _toHtml: [Function: _toHtml], toJSON: 1 }", mimes={"text/html"}
    ),
    Cell("({ _toMime: () => ({ 'text/latex': '$x$', 'text/plain': 'tex' }) })", "tex", mimes={"text/latex"}),
    Cell("display.html`<b>${1 + 1}</b>`", shown=[{"text/html", "text/plain"}]),
    Cell(
        "display.svg('<svg/>'); display.markdown`# t`; display.latex`\\frac{1}{2}`",
        shown=[{"image/svg+xml", "text/plain"}, {"text/markdown", "text/plain"}, {"text/latex", "text/plain"}],
    ),
    Cell("display.json({ a: [1, 2n, NaN] })", shown=[{"application/json", "text/plain"}]),
    Cell(
        "const png = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64'); png",
        "[image/png, 70 bytes]",
        mimes={"image/png"},
    ),
    Cell("display.image(png)", shown=[{"image/png", "text/plain"}]),
    Cell(
        "({ $schema: 'https://vega.github.io/schema/vega-lite/v5.json', mark: 'bar' })",
        "{\n  '$schema': 'https://vega.github.io/schema/vega-lite/v5.json',\n  mark: 'bar'\n}",
        mimes={"application/vnd.vegalite.v5+json"},
    ),
    Cell("display(new Map([[1, 2]])); display({ a: 1 })", shown=[{"text/plain"}, {"text/plain", "application/json"}]),
    Cell("const h = display('one'); h.update('two')", shown=[{"text/plain"}]),
    Cell("display.mime({ 'application/x-own': 'data' })", shown=[{"application/x-own"}]),
]

ERRORS = [
    Cell("throw new Error('boom')", error="Error", message="boom", trace=("Error: boom", "at cell-1.js:1:7")),
    Cell(
        "function outer() {\n  inner()\n}\nfunction inner() {\n  null.x\n}\nouter()",
        error="TypeError",
        message="Cannot read properties of null",
        trace=("at inner (cell-2.js:5:8)", "at outer (cell-2.js:2:3)", "at cell-2.js:7:1"),
    ),
    Cell("outer()", error="TypeError", trace=("at inner (cell-2.js:5:8)", "at cell-3.js:1:1")),
    Cell("undefinedName", error="ReferenceError", message="undefinedName is not defined"),
    Cell("let y = ;", error="SyntaxError", message="Unexpected token", trace=("cell-5.js:1", "let y = ;", "        ^")),
    Cell("foo(\n  1,", error="SyntaxError"),
    Cell("let twice; let twice", error="SyntaxError", message="already been declared"),
    Cell("throw 5", error="Uncaught", message="5", trace=("Uncaught 5",)),
    Cell("throw { code: 1 }", error="Uncaught", trace=("Uncaught { code: 1 }",)),
    Cell("throw undefined", error="Uncaught", message="undefined"),
    Cell(
        "throw new Error('top', { cause: new TypeError('root') })", error="Error", trace=("[cause]: TypeError: root",)
    ),
    Cell(
        "throw new AggregateError([new Error('one'), new Error('two')], 'many')",
        error="AggregateError",
        trace=("[errors]", "Error: one", "Error: two"),
    ),
    Cell("class MyError extends Error { name = 'MyError' }\nthrow new MyError('own')", error="MyError", message="own"),
    Cell("throw Object.assign(new Error('coded'), { code: 'E_X' })", error="Error", trace=("code: 'E_X'",)),
    Cell("(function deep() { deep() })()", error="RangeError", message="Maximum call stack"),
    Cell("JSON.parse('{')", error="SyntaxError", message="JSON"),
    Cell("'still ' + 'alive'", "'still alive'"),
    Cell(
        "const { z } = await (async () => { throw new Error('in async') })()",
        error="Error",
        message="in async",
        trace=("cell-18.js:1:",),
    ),
    Cell("    await 0; null.property", error="TypeError", trace=("cell-19.js:1:19",)),
    Cell(
        "setTimeout(() => { throw new Error('from a timer') }, 1); await new Promise((r) => setTimeout(r, 30))",
        err=None,
    ),
    Cell("Promise.reject(new Error('nobody')); await new Promise((r) => setTimeout(r, 30))", err=None),
    Cell("'alive'", "'alive'"),
]

TYPES = [
    Cell("const n: number = 1; n", "1"),
    Cell("interface P { a: number }\ntype Q = P | null\nconst p: Q = { a: 1 }; p", "{ a: 1 }", mimes=JSON),
    Cell("function id<T>(x: T): T { return x }\nid<string>('s')", "'s'"),
    Cell("enum Color { Red, Green = 5, Blue }\nColor.Blue", "6"),
    Cell("Color[5]", "'Green'"),
    Cell("const enum C { A = 'a' }\nC.A", "'a'"),
    Cell("namespace N { export const deep = 1; export namespace M { export const er = 2 } }\nN.M.er", "2"),
    Cell(
        "class Point { constructor(private x: number, public y = 2) {} sum() { return this.x + this.y } }\nnew Point(1).sum()",
        "3",
    ),
    Cell(
        "function log(value: unknown, context: ClassMethodDecoratorContext) { console.log('decorated', String(context.name)) }\n"
        "class D { @log m() { return 1 } }\nnew D().m()",
        "1",
        out="decorated m\n",
    ),
    Cell(
        "abstract class Base { abstract f(): void }\nclass Impl extends Base { f() { return 4 } }\nnew Impl().f()", "4"
    ),
    Cell("let u = 1 as unknown as string; typeof u", "'number'"),
    Cell("const sat = { a: 1 } satisfies Record<string, number>; sat.a!", "1"),
    Cell(
        "import type { Stats } from 'node:fs'\nimport { type PathLike, sep } from 'node:fs'\nsep",
        error="ReferenceError",
    ),
    Cell("import { type ParsedPath, sep } from 'node:path'\nsep", "'/'"),
    Cell("import { Stats as Missing, NotThere } from 'node:fs'; typeof Missing", "'function'"),
    Cell("type T1 = string"),
    Cell("declare const nowhere: number"),
    Cell("let wrong: number = 'text'; wrong", "'text'"),
    Cell(
        "function thrower(x: number): never {\n  throw new Error(`n${x}`)\n}\nthrower(1)",
        error="Error",
        message="n1",
        trace=("at thrower (cell-19.ts:2:9)", "at cell-19.ts:4:1"),
    ),
    Cell(
        "enum E2 { A }\nfunction late(): void {\n  throw new Error('mapped')\n}\nlate()",
        error="Error",
        trace=("at late (cell-20.ts:3:9)", "at cell-20.ts:5:1"),
    ),
    Cell("let bad: = 3", error="SyntaxError"),
    Cell("await (async <T,>(x: T) => x)(7)", "7"),
    Cell("class F { declare a: string; readonly b: number = 2; c?: string; static s = 3 }\nF.s", "3"),
    Cell("{ a: 1 as number }", "{ a: 1 }", mimes=JSON),
    Cell("let arr: Array<[string, number]> = [['a', 1]]; arr", "[ [ 'a', 1 ] ]", mimes=JSON),
    Cell(
        "function over(a: string): string\nfunction over(a: number): number\nfunction over(a: any) { return a }\nover(3)",
        "3",
    ),
    Cell("const g = id<number>; g(8)", "8"),
]

JAVASCRIPT = {
    "repl": REPL,
    "await": AWAIT,
    "modules": MODULES,
    "output": OUTPUT,
    "values": VALUES,
    "rich": RICH,
    "errors": ERRORS,
}
TYPESCRIPT = {"types": TYPES}
ALL = [("javascript", name, cells) for name, cells in JAVASCRIPT.items()] + [
    ("typescript", name, cells) for name, cells in TYPESCRIPT.items()
]
