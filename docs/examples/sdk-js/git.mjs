// Repositories: cloned with progress, a branch of one, and what goes wrong.
import assert from "node:assert/strict";
import { GitError, getSandbox } from "cellbox";

const sandbox = getSandbox("sdk-js-git");

// a repository to clone; yours is at https://…, with credentials: { token } for a private one
await sandbox.exec(`
  git init -q -b main /tmp/source && cd /tmp/source && git config user.name me && git config user.email me@example.com
  echo hello > README && git add . && git commit -qm first && git checkout -qb next && echo more >> README && git commit -qam second
`);

const phases = new Set();
const clone = await sandbox.gitCheckout("file:///tmp/source", {
  branch: "next",
  depth: 1,
  targetDir: "app",
  onProgress: ({ phase }) => phases.add(phase),
});
assert.deepEqual([clone.branch, clone.targetDir], ["next", "/workspace/app"]);
assert.ok(phases.has("Receiving objects"));
assert.equal((await sandbox.readFile("app/README")).content, "hello\nmore\n");

const error = await sandbox.gitCheckout("file:///tmp/source", { branch: "missing" }).catch((e) => e);
assert.ok(error instanceof GitError && error.code === "GIT_BRANCH_NOT_FOUND" && error.status === 404);

await sandbox.destroy();
console.log("ok");
