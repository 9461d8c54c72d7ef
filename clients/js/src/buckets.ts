/** Object stores as directories: /v1/sandboxes/{name}/buckets. docs/buckets.md. */
import type { Box } from "./box.js";
import { BucketError } from "./errors.js";

export interface BucketCredentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
}

/** With one of credentials and secret. */
export interface MountBucketOptions {
  /** https://host:port of a store that speaks S3. */
  endpoint: string;
  /** Default us-east-1. */
  region?: string;
  /** Kept outside of the sandbox for as long as the bucket is mounted. */
  credentials?: BucketCredentials;
  /** Name of a secret (putSecret) that is used in their place. */
  secret?: string;
  /** Only what is below it, e.g. "/reports". */
  prefix?: string;
  readOnly?: boolean;
  /** E.g. "stat_cache_expire=60"; docs/buckets.md has those that can be set. */
  s3fsOptions?: string[];
}

/** A bucket that is a directory. */
export interface BucketInfo {
  id: string;
  bucket: string;
  path: string;
  endpoint: string;
  region?: string;
  prefix?: string;
  secret?: string;
  readOnly: boolean;
  /** asleep: the sandbox sleeps, and it comes back when that wakes. */
  state: "asleep" | "mounting" | "mounted" | "failed";
  /** Why it failed. */
  error?: string;
}

export async function mountBucket(box: Box, bucket: string, path: string, options: MountBucketOptions): Promise<BucketInfo> {
  const json = { bucket, path, ...options };
  return box.json<BucketInfo>({ method: "POST", path: `${box.base}/buckets`, json, idempotent: false });
}

export async function listBuckets(box: Box): Promise<BucketInfo[]> {
  const answer = await box.json<{ buckets: BucketInfo[] }>({ method: "GET", path: `${box.base}/buckets`, idempotent: true });
  return answer.buckets;
}

export async function unmountBucket(box: Box, path: string, force: boolean): Promise<void> {
  const found = (await listBuckets(box)).find((one) => one.path === path || one.id === path);
  if (!found) throw new BucketError(`no bucket is mounted at ${path}`, "BUCKET_NOT_FOUND", 404, { path });
  const query = force ? "?force=true" : "";
  await box.done({ method: "DELETE", path: `${box.base}/buckets/${found.id}${query}`, idempotent: true });
}
