/** What sandboxes may reach, what they reached, secrets and handlers. docs/egress.md. */
import type { Box } from "./box.js";
import { Connection, type ConnectionOptions } from "./connection.js";
import { sleep } from "./retry.js";

/** A policy document; every member is described in docs/egress-policy.md. */
export interface EgressPolicy {
  enableInternet?: boolean;
  allowedHosts?: string[];
  deniedHosts?: string[];
  splice?: string[];
  rules?: EgressRule[];
  outbound?: HandlerChoice | null;
  outboundByHost?: Record<string, HandlerChoice> | null;
  runtime?: { outbound?: HandlerChoice | null; outboundByHost?: Record<string, HandlerChoice | null> | null } | null;
  limits?: { rate?: EgressRate; quota?: EgressQuota } | null;
}

export interface EgressRule {
  name?: string;
  match?: { hosts?: string[]; cidrs?: string[]; ports?: (number | string)[]; methods?: string[]; paths?: string[]; schemes?: ("http" | "https")[] };
  action?: "allow" | "deny" | "respond" | "splice" | "tcp" | "handler";
  respond?: { status?: number; headers?: Record<string, string>; body?: string };
  handler?: string;
  params?: unknown;
  inject?: EgressInjection[];
  setHeaders?: Record<string, string>;
  removeHeaders?: string[];
  /** Credentials also over plain HTTP. */
  insecure?: boolean;
  rate?: EgressRate;
  quota?: EgressQuota;
}

/** Exactly one of header, query, basic, bearer and sigv4. */
export interface EgressInjection {
  secret: string;
  header?: string;
  query?: string;
  basic?: true;
  bearer?: true;
  sigv4?: true;
  /** Holds {secret}. */
  format?: string;
  username?: string;
  region?: string;
  service?: string;
}

export interface EgressRate {
  requestsPerSecond?: number;
  requestsPerMinute?: number;
  burst?: number;
}

export interface EgressQuota {
  bytes: number;
  per?: "hour" | "day" | "total";
}

/** "module" or "module.handler", with what the handler gets as ctx.params. */
export type HandlerChoice = string | { name: string; params?: unknown };

/** One request, connection or look-up of a sandbox. */
export interface EgressRecord {
  time: string;
  id: number;
  kind: "http" | "tls" | "tcp" | "dns";
  sandbox?: string;
  method?: string;
  scheme?: string;
  host?: string;
  port?: number;
  /** The query's names without their values. */
  path?: string;
  protocol?: string;
  decision: "allow" | "deny" | "handler" | "respond" | "splice" | "tcp" | "error";
  rule?: string;
  reason?: string;
  status?: number;
  /** To the sandbox. */
  bytesIn?: number;
  bytesOut?: number;
  durationMs?: number;
  upstreamMs?: number;
  secrets?: string[];
  upstream?: string;
}

export interface EgressLog {
  entries: EgressRecord[];
  /** Where to go on. */
  cursor: string;
  /** Bytes that the log has dropped between the asked-for cursor and the first entry. */
  lost: number;
}

export interface FollowOptions {
  /** Default: the oldest record that is kept. */
  cursor?: string;
  signal?: AbortSignal;
}

const FOLLOW_MS = 500;

export function getEgress(box: Box): Promise<EgressPolicy> {
  return box.json<EgressPolicy>({ method: "GET", path: `${box.base}/egress`, idempotent: true });
}

export function setEgress(box: Box, policy: EgressPolicy): Promise<EgressPolicy> {
  return box.json<EgressPolicy>({ method: "PUT", path: `${box.base}/egress`, json: policy, idempotent: true });
}

export function updateEgress(box: Box, changes: Record<string, unknown>): Promise<EgressPolicy> {
  return box.json<EgressPolicy>({ method: "PATCH", path: `${box.base}/egress`, json: changes, idempotent: true });
}

export function resetEgress(box: Box): Promise<EgressPolicy> {
  return box.json<EgressPolicy>({ method: "DELETE", path: `${box.base}/egress`, idempotent: true });
}

export function egressLog(box: Box, cursor = "0"): Promise<EgressLog> {
  return box.json<EgressLog>({ method: "GET", path: `${box.base}/egress/log?cursor=${encodeURIComponent(cursor)}`, idempotent: true });
}

export async function* followEgress(box: Box, options: FollowOptions): AsyncGenerator<EgressRecord, void, undefined> {
  for (let cursor = options.cursor ?? "0"; ; ) {
    options.signal?.throwIfAborted();
    const page = await egressLog(box, cursor);
    yield* page.entries;
    if (page.cursor === cursor) await sleep(FOLLOW_MS, options.signal);
    cursor = page.cursor;
  }
}

/** value, or username and password, or accessKeyId and secretAccessKey; hosts are the only ones it is ever sent to. */
export interface Secret {
  value?: string;
  username?: string;
  password?: string;
  accessKeyId?: string;
  secretAccessKey?: string;
  sessionToken?: string;
  hosts: string[];
  /** Patterns of the sandboxes that may use it; absent: all. */
  sandboxes?: string[];
  /** Handler modules whose env gets it in clear text; all others get a placeholder that fetch fills in. */
  handlers?: string[];
}

export interface SecretInfo {
  name: string;
  kind: "value" | "basic" | "aws";
  hosts: string[];
  sandboxes?: string[];
  handlers?: string[];
  /** Milliseconds since 1970. */
  createdAt: number;
  updatedAt: number;
}

/** Adds or replaces a secret; it can never be read again. @throws InvalidRequestError */
export async function putSecret(name: string, secret: Secret, options: ConnectionOptions = {}): Promise<void> {
  await new Connection(options).done({ method: "PUT", path: `/v1/secrets/${encodeURIComponent(name)}`, json: secret, idempotent: true });
}

export async function listSecrets(options: ConnectionOptions = {}): Promise<SecretInfo[]> {
  return (await new Connection(options).json<{ secrets: SecretInfo[] }>({ method: "GET", path: "/v1/secrets", idempotent: true })).secrets;
}

/** @throws NotFoundError */
export async function deleteSecret(name: string, options: ConnectionOptions = {}): Promise<void> {
  await new Connection(options).done({ method: "DELETE", path: `/v1/secrets/${encodeURIComponent(name)}`, idempotent: false });
}

export interface HandlerInfo {
  name: string;
  loaded: boolean;
  bytes: number;
  /** Name in the handler's env to name of a secret. */
  env: Record<string, string>;
}

/** Adds or replaces a handler module, if it compiles. docs/egress.md. @throws InvalidRequestError (with its line) */
export async function putHandler(name: string, source: string, options: ConnectionOptions & { env?: Record<string, string> } = {}): Promise<void> {
  const { env, ...connection } = options;
  const json = env === undefined ? { source } : { source, env };
  await new Connection(connection).done({ method: "PUT", path: `/v1/handlers/${encodeURIComponent(name)}`, json, idempotent: true });
}

export async function listHandlers(options: ConnectionOptions = {}): Promise<HandlerInfo[]> {
  return (await new Connection(options).json<{ handlers: HandlerInfo[] }>({ method: "GET", path: "/v1/handlers", idempotent: true })).handlers;
}

/** @throws NotFoundError */
export async function deleteHandler(name: string, options: ConnectionOptions = {}): Promise<void> {
  await new Connection(options).done({ method: "DELETE", path: `/v1/handlers/${encodeURIComponent(name)}`, idempotent: false });
}
