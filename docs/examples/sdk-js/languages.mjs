// JavaScript and TypeScript contexts beside Python ones, in one sandbox.
import assert from "node:assert/strict";
import { getSandbox, InvalidRequestError } from "cellbox";

const sandbox = getSandbox("sdk-js-languages");

await sandbox.runCode("const n = 20; var later = await Promise.resolve(1)", { language: "javascript" });
assert.equal((await sandbox.runCode("n + later", { language: "javascript" })).text, "21");

const ts = await sandbox.createCodeContext({ language: "typescript" });
const typed = await sandbox.runCode("interface P { x: number }\nconst p: P = { x: 5 };\nconsole.log('typed'); p.x * 2", { context: ts });
assert.deepEqual([typed.text, typed.logs.stdout.join("")], ["10", "typed\n"]);

const failed = await sandbox.runCode("throw new RangeError('too far')", { language: "javascript" });
assert.deepEqual([failed.error.name, failed.error.message], ["RangeError", "too far"]);

await assert.rejects(sandbox.createCodeContext({ language: "cobol" }), InvalidRequestError);

await sandbox.destroy();
console.log("ok");
