/**
 * An object store for tests: s3rver, behind a check of every request's signature (AWS Signature Version 4), which s3rver
 * itself does not make. server.mjs ADDRESS PORT TLS_PORT FOLDER CERTIFICATES, keys in KEYS ("id:secret,...").
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import S3rver from 's3rver';

const [address, port, tlsPort, folder, certificates] = process.argv.slice(2);
const keys = new Map(process.env.KEYS.split(',').map((pair) => pair.split(':')));
const hmac = (key, text) => createHmac('sha256', key).update(text).digest();
const encode = (text) => encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

function canonical(request, signed, payload) {
  const url = new URL(request.url, 'http://x');
  const query = [...url.searchParams].map(([k, v]) => `${encode(k)}=${encode(v)}`).sort().join('&');
  const where = url.pathname.split('/').map((part) => encode(decodeURIComponent(part))).join('/');
  const heads = signed.map((name) => `${name}:${(request.headers[name] ?? '').trim().replace(/ +/g, ' ')}\n`).join('');
  return [request.method, where, query, heads, signed.join(';'), payload].join('\n');
}

/** undefined: it is signed by somebody known; else the code of what is wrong. */
function wrong(request) {
  const found = /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d+)\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(
    request.headers.authorization ?? '',
  );
  if (!found) return 'AccessDenied';
  const [, id, day, region, names, signature] = found;
  if (!keys.has(id)) return 'InvalidAccessKeyId';
  const signed = names.split(';');
  const must = Object.keys(request.headers).filter((name) => name.startsWith('x-amz-') || name === 'host');
  if (!must.every((name) => signed.includes(name))) return 'AccessDenied';
  const text = canonical(request, signed, request.headers['x-amz-content-sha256']);
  const hash = createHash('sha256').update(text).digest('hex');
  const toSign = ['AWS4-HMAC-SHA256', request.headers['x-amz-date'], `${day}/${region}/s3/aws4_request`, hash].join('\n');
  const key = [day, region, 's3', 'aws4_request'].reduce((k, part) => hmac(k, part), `AWS4${keys.get(id)}`);
  return timingSafeEqual(hmac(key, toSign), Buffer.from(signature, 'hex')) ? undefined : 'SignatureDoesNotMatch';
}

const store = new S3rver({ silent: true, directory: folder, vhostBuckets: false, configureBuckets: [{ name: 'first' }, { name: 'second' }] });
await store.configureBuckets();
const serve = store.callback();

function answer(request, response) {
  const code = wrong(request);
  console.log(`${request.method} ${request.url} ${code ?? 'signed'}`);
  if (code) {
    response.writeHead(403, { 'content-type': 'application/xml' });
    response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>refused</Message></Error>`);
    return;
  }
  request.headers.authorization = request.headers.authorization.replace(/Credential=[^/]+/, 'Credential=S3RVER');
  serve(request, response);
}

const read = (name) => readFileSync(`${certificates}/${name}`);
http.createServer(answer).listen(Number(port), address, () => {
  https
    .createServer({ cert: read('server.pem'), key: read('server.key') }, answer)
    .listen(Number(tlsPort), address, () => console.log('listening'));
});
