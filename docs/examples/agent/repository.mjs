// A git server for one folder: a bare repository made from it, read over HTTP through git's own `git http-backend`.
import { execFileSync, spawn } from "node:child_process";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

/** Commits what lies in `folder` (without node_modules) to the branch main of a bare repository; returns the folder it is in. */
function makeRepository(folder, name) {
  const root = mkdtempSync(join(tmpdir(), "agent-git-"));
  const work = join(root, "work");
  const git = (...args) => execFileSync("git", ["-c", "user.name=Example", "-c", "user.email=example@localhost", ...args], { cwd: work });
  cpSync(folder, work, { recursive: true, filter: (path) => basename(path) !== "node_modules" });
  git("init", "--quiet", "--initial-branch", "main");
  git("add", "--all");
  git("commit", "--quiet", "--message", "The app");
  git("clone", "--quiet", "--bare", ".", join(root, name));
  rmSync(work, { recursive: true });
  return root;
}

function parseHead(text) {
  return Object.fromEntries(text.split("\r\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]));
}

/** One request as CGI (RFC 3875). */
function backend(root, request, response) {
  const url = new URL(request.url, "http://localhost");
  const cgi = spawn("git", ["http-backend"], {
    stdio: ["pipe", "pipe", "inherit"],
    env: {
      PATH: process.env.PATH,
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: "1",
      GIT_PROTOCOL: request.headers["git-protocol"] ?? "",
      REQUEST_METHOD: request.method,
      PATH_INFO: url.pathname,
      QUERY_STRING: url.search.slice(1),
      CONTENT_TYPE: request.headers["content-type"] ?? "",
      HTTP_CONTENT_ENCODING: request.headers["content-encoding"] ?? "",
      REMOTE_ADDR: request.socket.remoteAddress,
    },
  });
  cgi.stdin.on("error", () => {}); // git may answer before it has read everything
  request.pipe(cgi.stdin);
  response.on("close", () => cgi.kill());
  cgi.on("error", () => response.writeHead(500).end());
  let begun = Buffer.alloc(0);
  cgi.stdout.on("data", function first(chunk) {
    begun = Buffer.concat([begun, chunk]);
    const end = begun.indexOf("\r\n\r\n");
    if (end < 0) return;
    cgi.stdout.off("data", first);
    const { Status: status = "200", ...headers } = parseHead(begun.toString("latin1", 0, end));
    response.writeHead(parseInt(status, 10), headers);
    response.write(begun.subarray(end + 4));
    cgi.stdout.pipe(response);
  });
  cgi.stdout.on("end", () => response.headersSent || response.writeHead(500).end());
}

/** Serves `folder` as `http://address:port/NAME.git`. Everybody who reaches the address may read it, nobody may write. */
export async function serveRepository(folder, address) {
  const name = `${basename(folder)}.git`;
  const root = makeRepository(folder, name);
  const server = createServer((request, response) => backend(root, request, response));
  await new Promise((resolve, reject) => server.once("error", reject).listen(0, address, resolve));
  const { port } = server.address();
  return {
    url: `http://${address}:${port}/${name}`,
    port,
    close() {
      server.close();
      server.closeAllConnections();
      rmSync(root, { recursive: true, force: true });
    },
  };
}
