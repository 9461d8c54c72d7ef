// An agent's working day: clone, install, start the development server, look at the page, edit, see it change, use the terminal.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { stripVTControlCharacters } from "node:util";
import { getSandbox } from "cellbox";
import { chromium } from "playwright-core";
import { WebSocket } from "ws"; // Node 22 has one of its own
import { npmRegistry, ownAddress, policyFor } from "./network.mjs";
import { serveRepository } from "./repository.mjs";

const address = ownAddress();
const registry = npmRegistry();
const repository = await serveRepository(fileURLToPath(new URL("app", import.meta.url)), address);
const sandbox = getSandbox("example-agent", { WebSocket, egress: await policyFor(repository, address, registry) });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  chromiumSandbox: process.getuid() !== 0, // Chromium's own sandbox does not work for root
});

/** Types a command into a terminal as a person would, and gives what is on the screen when its shell has ended. */
async function terminalShows(cwd, command) {
  const terminal = await sandbox.terminal({ id: "agent", command: ["sh"], cwd, env: { PS1: "$ " }, cols: 100, rows: 30 });
  const viewer = await terminal.connect();
  const decoder = new TextDecoder();
  const typed = [`${command}\n`, "exit\n"];
  let shown = "";
  for await (const data of viewer) {
    shown += decoder.decode(data, { stream: true });
    if (shown.endsWith("$ ") && typed.length) viewer.write(typed.shift()); // at each prompt
  }
  return stripVTControlCharacters(shown).replaceAll("\r", "").trim();
}

try {
  await sandbox.destroy(); // what an interrupted run left
  const clone = await sandbox.gitCheckout(repository.url, { depth: 1 });
  const app = clone.targetDir;
  console.log(`cloned ${clone.branch} at ${clone.commit.slice(0, 7)} to ${app}`);

  const install = await sandbox.exec("npm ci --no-audit --no-fund", { cwd: app, env: { npm_config_registry: registry }, timeout: 300_000 });
  assert.ok(install.success, install.stdout + install.stderr);
  console.log(`npm: ${install.stdout.trim().split("\n").at(-1)}`);

  const dev = await sandbox.startProcess("npm run dev", { processId: "dev", cwd: app });
  const { line, match } = await dev.waitForLog(/Local:\s+http:\/\/localhost:(\d+)\//, { timeout: 60_000 });
  console.log(`log: ${line.trim()}`);

  const preview = await sandbox.exposePort(Number(match[1]), { name: "app" });
  const page = await browser.newPage({ viewport: { width: 800, height: 450 } });
  const seen = { loads: 0, sockets: [], updates: 0 };
  page.on("load", () => (seen.loads += 1));
  page.on("websocket", (socket) => {
    seen.sockets.push(new URL(socket.url()).host);
    socket.on("framereceived", ({ payload }) => (seen.updates += JSON.parse(payload).type === "update"));
  });
  // Vite's first word on its WebSocket: from here on it tells the page what changed
  const greeted = page.waitForEvent("websocket").then((socket) => socket.waitForEvent("framereceived"));
  await Promise.all([page.goto(preview.url), greeted]);
  const title = page.locator("h1");
  const button = page.locator("button");
  for (let i = 0; i < 3; i++) await button.click();
  console.log(`page: ${await title.textContent()}, ${await button.textContent()}`);

  const file = `${app}/src/greeting.js`;
  const { content } = await sandbox.readFile(file);
  await sandbox.writeFile(file, content.replace("the repository", "the agent"));
  await page.locator("h1", { hasText: "Hello from the agent" }).waitFor();
  console.log(`page: ${await title.textContent()}, ${await button.textContent()}`);
  // the counter is a variable of a module: a page that was loaded again would have lost it
  assert.equal(await button.textContent(), "count is 3");
  assert.deepEqual(seen, { loads: 1, sockets: [new URL(preview.url).host], updates: 1 });
  await page.screenshot({ path: "preview.png" });

  console.log(`terminal:\n${await terminalShows(app, "git --no-pager diff src")}`);

  const { entries } = await sandbox.egressLog();
  const rules = entries.filter(({ kind }) => kind === "http").map(({ decision, rule }) => `${decision} ${rule}`);
  console.log(`egress: ${[...new Set(rules)].join(", ")}`);
} finally {
  repository.close();
  await browser.close();
  await sandbox.destroy();
}
console.log("ok");
