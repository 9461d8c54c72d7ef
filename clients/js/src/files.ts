/** Files of a box. docs/files.md. Paths that are relative lie below /workspace. */
import type { Box } from "./box.js";
import type { Query } from "./connection.js";
import { fromBase64, toBase64, utf8 } from "./encoding.js";
import { FileNotFoundError } from "./errors.js";

/** Who does it in the box: its user (default) or its root. */
export interface AsUser {
  user?: "user" | "root";
}

export interface FileInfo {
  name: string;
  absolutePath: string;
  /** In a list: below the directory that was listed. */
  relativePath?: string;
  type: "file" | "directory" | "symlink" | "other";
  /** Bytes. */
  size: number;
  modifiedAt: Date;
  /** Octal, such as 0644. */
  mode: string;
  uid: number;
  gid: number;
  permissions: { readable: boolean; writable: boolean; executable: boolean };
  /** Of a symlink. */
  target?: string;
  /** Where the name is no UTF-8: how it is written in an address. */
  encodedPath?: string;
}

type WireFile = Omit<FileInfo, "modifiedAt"> & { modifiedAt: string };

function fileInfo(wire: WireFile): FileInfo {
  return { ...wire, modifiedAt: new Date(wire.modifiedAt) };
}

/** What an operation on one file gives: the file as it is now. */
export interface FileResult extends FileInfo {
  success: true;
  /** As it was given. */
  path: string;
}

export interface MoveResult extends FileResult {
  newPath: string;
}

/** Absolute, and without "." and ".." (an address cannot hold them). */
export function absolutePath(path: string): string {
  if (path === "~" || path.startsWith("~/")) return absolutePath(`/home/user${path.slice(1)}`);
  const parts: string[] = [];
  for (const part of (path.startsWith("/") ? path : `/workspace/${path}`).split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
}

function address(box: Box, path: string): string {
  return `${box.base}/files${absolutePath(path).split("/").map(encodeURIComponent).join("/")}`;
}

export interface ReadOptions extends AsUser {
  /**
   * utf-8: text, U+FFFD for what is none; base64; default: text if the file is valid UTF-8 without NUL, else base64.
   */
  encoding?: "utf-8" | "utf8" | "base64";
  /** First byte. Default 0. */
  offset?: number;
  /** Bytes at most. Default: to the end. */
  length?: number;
  signal?: AbortSignal;
}

export interface FileContent {
  success: true;
  path: string;
  /** Text or base64, as `encoding` says. */
  content: string;
  encoding: "utf-8" | "base64";
  bytes: Uint8Array;
  isBinary: boolean;
  mimeType: string;
  /** Bytes that were read. */
  size: number;
  timestamp: string;
}

async function open(box: Box, path: string, options: ReadOptions): Promise<Response> {
  const headers: Record<string, string> = {};
  if (options.offset !== undefined || options.length !== undefined) {
    const first = options.offset ?? 0;
    headers["Range"] = `bytes=${first}-${options.length === undefined ? "" : first + options.length - 1}`;
  }
  const { user, signal } = options;
  return box.send({ method: "GET", path: address(box, path), query: { user }, headers, idempotent: true, signal });
}

export async function readFile(box: Box, path: string, options: ReadOptions): Promise<FileContent> {
  const response = await open(box, path, options);
  const bytes = new Uint8Array(await response.arrayBuffer());
  let text: string | undefined;
  try {
    text = bytes.includes(0) ? undefined : new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    text = undefined;
  }
  const isBinary = text === undefined;
  const base64 = options.encoding === "base64" || (options.encoding === undefined && isBinary);
  return {
    success: true,
    path,
    content: base64 ? toBase64(bytes) : (text ?? new TextDecoder().decode(bytes)),
    encoding: base64 ? "base64" : "utf-8",
    bytes,
    isBinary,
    mimeType: (response.headers.get("content-type") ?? "application/octet-stream").split(";")[0] ?? "",
    size: bytes.length,
    timestamp: new Date().toISOString(),
  };
}

export async function readFileStream(box: Box, path: string, options: Omit<ReadOptions, "encoding">): Promise<ReadableStream<Uint8Array>> {
  return bodyOf(await open(box, path, options));
}

function bodyOf(response: Response): ReadableStream<Uint8Array> {
  return (response.body ?? new Blob([]).stream());
}

export interface WriteOptions extends AsUser {
  /** base64: content is base64 text of bytes. */
  encoding?: "utf-8" | "utf8" | "base64";
  /** Behind what the file holds. */
  append?: boolean;
  /** Into the file from this byte on, in place. */
  offset?: number;
  /** Make missing directories. */
  parents?: boolean;
  /** Only if there is no such file. */
  exclusive?: boolean;
  /** Octal, such as "0755". */
  mode?: string;
  signal?: AbortSignal;
}

/** What can be written. A stream is sent as it comes, and never a second time. */
export type FileSource = string | Uint8Array | ArrayBuffer | Blob | ReadableStream<Uint8Array> | AsyncIterable<Uint8Array>;

function streamOf(source: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>({
    async pull(controller): Promise<void> {
      const next = await iterator.next();
      if (next.done) controller.close();
      else controller.enqueue(next.value);
    },
    async cancel(): Promise<void> {
      await iterator.return?.();
    },
  });
}

/** What fetch sends of it. */
export function bodyFor(source: FileSource, base64: boolean): BodyInit {
  if (typeof source === "string") return (base64 ? fromBase64(source) : utf8(source)) as BodyInit;
  if (source instanceof ReadableStream) return source;
  return Symbol.asyncIterator in source ? streamOf(source) : (source as BodyInit);
}

export async function writeFile(box: Box, path: string, source: FileSource, options: WriteOptions): Promise<FileResult & { bytesWritten?: number }> {
  const { append, offset, parents, exclusive, mode, user, signal } = options;
  const query: Query = { append, offset, parents, exclusive, mode, user };
  const body = bodyFor(source, options.encoding === "base64");
  // appending twice is not writing once
  const idempotent = !append && !exclusive;
  const response = await box.send({ method: "PUT", path: address(box, path), query, body, idempotent, signal });
  return { ...fileInfo((await response.json()) as WireFile), success: true, path };
}

export async function deleteFile(box: Box, path: string, options: AsUser & { recursive?: boolean }): Promise<{ success: true; path: string }> {
  await box.done({ method: "DELETE", path: address(box, path), query: { ...options }, idempotent: true });
  return { success: true, path };
}

async function operate(box: Box, verb: string, json: object, idempotent: boolean): Promise<FileInfo> {
  return fileInfo(await box.json<WireFile>({ method: "POST", path: `${box.base}/files:${verb}`, json, idempotent }));
}

export interface RelocateOptions extends AsUser {
  /** Default true. */
  overwrite?: boolean;
  /** Make missing directories. */
  parents?: boolean;
}

export async function relocate(box: Box, verb: "move" | "copy", source: string, destination: string, options: RelocateOptions & { recursive?: boolean }): Promise<MoveResult> {
  const info = await operate(box, verb, { source, destination, ...options }, false);
  return { ...info, success: true, path: source, newPath: destination };
}

export async function mkdir(box: Box, path: string, options: AsUser & { recursive?: boolean; mode?: string }): Promise<FileResult & { recursive: boolean }> {
  const info = await operate(box, "mkdir", { path, ...options }, options.recursive === true);
  return { ...info, success: true, path, recursive: options.recursive === true };
}

export async function chmod(box: Box, path: string, mode: string, options: AsUser & { recursive?: boolean }): Promise<FileResult> {
  return { ...(await operate(box, "chmod", { path, mode, ...options }, true)), success: true, path };
}

export async function symlink(box: Box, target: string, path: string, options: RelocateOptions): Promise<FileResult> {
  return { ...(await operate(box, "symlink", { path, target, ...options }, false)), success: true, path };
}

export function stat(box: Box, path: string, options: AsUser & { followSymlinks?: boolean }): Promise<FileInfo> {
  return operate(box, "stat", { path, ...options }, true);
}

export async function exists(box: Box, path: string): Promise<{ success: true; path: string; exists: boolean }> {
  try {
    await stat(box, path, {});
    return { success: true, path, exists: true };
  } catch (error) {
    if (!(error instanceof FileNotFoundError)) throw error;
    return { success: true, path, exists: false };
  }
}

export interface ListOptions extends AsUser {
  recursive?: boolean;
  /** Names that begin with a dot. Default false. */
  includeHidden?: boolean;
  /** Globs: *, **, ?, [a-z], {a,b}; without a slash they match names, else relative paths. */
  include?: readonly string[];
  exclude?: readonly string[];
  /** Levels; implies recursive. */
  depth?: number;
  /** Entries at most. Default 100000. */
  limit?: number;
}

export interface FileList {
  success: true;
  path: string;
  files: FileInfo[];
  count: number;
  /** There were more than `limit`. */
  truncated: boolean;
}

export async function listFiles(box: Box, path: string, options: ListOptions): Promise<FileList> {
  const call = { method: "POST", path: `${box.base}/files:list`, json: { path, ...options }, idempotent: true } as const;
  const wire = await box.json<{ files: WireFile[]; count: number; truncated: boolean }>(call);
  return { success: true, path, files: wire.files.map(fileInfo), count: wire.count, truncated: wire.truncated };
}

export interface SearchOptions extends AsUser {
  /** Default /workspace. */
  path?: string;
  /** The query is a regular expression (of ripgrep). Default false. */
  regex?: boolean;
  ignoreCase?: boolean;
  wholeWord?: boolean;
  includeHidden?: boolean;
  /** Also what .gitignore files leave out. */
  includeIgnored?: boolean;
  include?: readonly string[];
  exclude?: readonly string[];
  /** Matches at most. Default 1000. */
  limit?: number;
}

export interface SearchMatch {
  path?: string;
  /** From 1. */
  line: number;
  /** Of the line in the file, bytes. */
  offset: number;
  text?: string;
  /** Where the line is no UTF-8. */
  textBase64?: string;
  pathBase64?: string;
  /** Bytes within the line. */
  submatches: { start: number; end: number }[];
}

export function searchFiles(box: Box, query: string, options: SearchOptions): Promise<{ matches: SearchMatch[]; count: number; truncated: boolean }> {
  return box.json({ method: "POST", path: `${box.base}/files:search`, json: { query, ...options }, idempotent: true });
}

export type ArchiveFormat = "tar" | "tar.gz" | "tar.zst" | "tar.xz";

export interface ArchiveOptions extends AsUser {
  /** Default tar. */
  format?: ArchiveFormat;
  signal?: AbortSignal;
}

export async function downloadArchive(box: Box, path: string, options: ArchiveOptions): Promise<ReadableStream<Uint8Array>> {
  const query = { archive: options.format ?? "tar", user: options.user };
  return bodyOf(await box.send({ method: "GET", path: address(box, path), query, idempotent: true, signal: options.signal }));
}

export async function uploadArchive(box: Box, path: string, source: FileSource, options: ArchiveOptions & { parents?: boolean; maxBytes?: number }): Promise<void> {
  const { format, user, parents, maxBytes, signal } = options;
  const query = { archive: format ?? "tar", user, parents, maxBytes };
  await box.done({ method: "PUT", path: address(box, path), query, body: bodyFor(source, false), idempotent: true, signal });
}
