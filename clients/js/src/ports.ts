/** Ports of a box shown to the outside, each under an address with a token of its own. */
import type { Box } from "./box.js";

export interface ExposePortOptions {
  /** For people; at most 20 bytes. */
  name?: string;
  /** 8-16 of a-z 0-9 _; made up by the server if absent. */
  token?: string;
  /** Milliseconds until the address ends. Default: never. */
  expiresIn?: number;
  /** A new token: the old address is gone. */
  rotate?: boolean;
  /** The address alone opens nothing: a browser must have opened `loginUrl` once. Only for the address by host name. */
  login?: boolean;
}

export interface ExposedPort {
  port: number;
  status: "active" | "expired";
  name?: string;
  token: string;
  /** Address by host name, or by path where the server is reached by an IP address. */
  url: string;
  /** Address by path; works without wildcard DNS. */
  pathUrl: string;
  login: boolean;
  /** With `login`: gives a browser the cookie that it needs. */
  loginUrl?: string;
  createdAt: Date;
  expiresAt?: Date;
}

type WirePort = Omit<ExposedPort, "createdAt" | "expiresAt"> & { createdAt: string; expiresAt?: string };

function portOf(wire: WirePort): ExposedPort {
  const { createdAt, expiresAt, ...rest } = wire;
  return { ...rest, createdAt: new Date(createdAt), ...(expiresAt === undefined ? {} : { expiresAt: new Date(expiresAt) }) };
}

export async function exposePort(box: Box, port: number, options: ExposePortOptions): Promise<ExposedPort> {
  const call = { method: "PUT", path: `${box.base}/ports/${port}`, json: options, idempotent: !options.rotate } as const;
  return portOf(await box.json<WirePort>(call));
}

export function unexposePort(box: Box, port: number): Promise<void> {
  return box.done({ method: "DELETE", path: `${box.base}/ports/${port}`, idempotent: true });
}

export async function listPorts(box: Box): Promise<ExposedPort[]> {
  return (await box.json<{ ports: WirePort[] }>({ method: "GET", path: `${box.base}/ports`, idempotent: true })).ports.map(portOf);
}
