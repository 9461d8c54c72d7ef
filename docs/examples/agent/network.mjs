// What the sandbox may reach: the repository, the npm registry of this computer, and nothing else.
import { execFileSync } from "node:child_process";
import { lookup } from "node:dns/promises";
import { networkInterfaces } from "node:os";

/** An address of this computer that the server reaches. 127.0.0.1 is none: in a sandbox that is the sandbox itself. */
export function ownAddress() {
  const own = Object.values(networkInterfaces()).flat().find(({ family, internal }) => family === "IPv4" && !internal);
  const address = process.env.AGENT_ADDRESS ?? own?.address;
  if (!address) throw new Error("this computer has no address but its loopback one: set AGENT_ADDRESS");
  return address;
}

/** The registry that npm uses here. */
export function npmRegistry() {
  return execFileSync("npm", ["config", "get", "registry"], { encoding: "utf8" }).trim();
}

/** An egress policy. Addresses are named because private ones are refused otherwise, also if an allowed name resolves to them. */
export async function policyFor(repository, address, registry) {
  const { hostname } = new URL(registry);
  const found = await lookup(hostname, { all: true });
  const cidrs = found.map(({ address, family }) => `${address}/${family === 6 ? 128 : 32}`);
  return {
    enableInternet: false,
    rules: [
      { name: "repository", match: { cidrs: [`${address}/32`], ports: [repository.port], methods: ["GET", "POST"] }, action: "allow" },
      { name: "registry", match: { hosts: [hostname], cidrs, methods: ["GET"] }, action: "allow" },
    ],
  };
}
