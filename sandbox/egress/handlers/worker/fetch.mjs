/** The fetch() of handlers: over egress, so that policy, credentials and log apply; this process has no network. */
import { CANCEL, FETCH, send } from './frames.mjs';
import { Incoming, Outgoing } from './bodies.mjs';
import { lengthOf, opened } from './decode.mjs';

const REDIRECTS = new Set([301, 302, 303, 307, 308]);
const NO_BODY = new Set([101, 204, 205, 304]);
const MAX_REDIRECTS = 20;

let nextStream = 1;

/** Everything that waits for frames, by stream. */
export const fetches = new Map();

const aborted = (signal) => signal.reason ?? new DOMException('This operation was aborted', 'AbortError');

/** One request without redirects; resolves with {status, headers, body}. */
function once(socket, call, request, body) {
  const id = nextStream;
  nextStream += 2;
  return new Promise((resolve, reject) => {
    const { signal } = request;
    if (signal?.aborted) {
      reject(aborted(signal));
      return;
    }
    const outgoing = body ? new Outgoing(socket, id) : null;
    const over = (error) => {
      fetches.delete(id);
      signal?.removeEventListener('abort', abort);
      outgoing?.cancel(error);
    };
    const broken = (error) => {
      over(error);
      entry.incoming?.fail(error);
      reject(error);
    };
    const giveUp = (error) => {
      if (!fetches.has(id)) return;
      send(socket, CANCEL, id);
      broken(error);
    };
    const abort = () => giveUp(aborted(signal));
    const entry = {
      head({ status, headers }) {
        entry.incoming = new Incoming(socket, id, () => giveUp(new DOMException('the body was cancelled', 'AbortError')));
        resolve({ status, headers, body: entry.incoming.stream });
      },
      data: (payload) => entry.incoming?.push(payload),
      end() {
        entry.incoming?.end();
        over(outgoing ? new TypeError('the answer was complete before the request') : undefined);
      },
      error: (message) => broken(new TypeError(`fetch failed: ${message}`)),
      window: (bytes) => outgoing?.window(bytes),
    };
    fetches.set(id, entry);
    signal?.addEventListener('abort', abort);
    send(socket, FETCH, id, {
      call,
      method: request.method,
      url: request.url,
      headers: [...request.headers],
      body: Boolean(body),
    });
    outgoing?.run(body).catch(giveUp);
  });
}

function toResponse(answer, request, redirected) {
  const bare = NO_BODY.has(answer.status) || request.method === 'HEAD';
  const { headers, body } = bare ? { headers: answer.headers, body: null } : opened(answer.headers, answer.body);
  const response = new Response(body, { status: answer.status, headers });
  Object.defineProperty(response, 'url', { value: request.url });
  Object.defineProperty(response, 'redirected', { value: redirected });
  return response;
}

/** What the next request after a redirect looks like (Fetch standard, HTTP-redirect fetch). */
function redirectedRequest(request, status, location) {
  const next = new URL(location, request.url);
  const headers = new Headers(request.headers);
  let { method } = request;
  const toGet =
    (status === 303 && method !== 'GET' && method !== 'HEAD') || ((status === 301 || status === 302) && method === 'POST');
  if (toGet) {
    method = 'GET';
    for (const name of ['content-encoding', 'content-language', 'content-length', 'content-location', 'content-type'])
      headers.delete(name);
  }
  if (next.origin !== new URL(request.url).origin) {
    for (const name of ['authorization', 'cookie', 'proxy-authorization']) headers.delete(name);
  }
  return { request: { method, url: next.href, headers, signal: request.signal }, keepsBody: !toGet };
}

const isStream = (body) => typeof body === 'object' && body !== null && typeof body.getReader === 'function';

/** Sets the Content-Length that is true, or none. */
function setLength(headers, length) {
  if (length === undefined) headers.delete('content-length');
  else headers.set('content-length', String(length));
}

/**
 * {request, bytes, stream}: what is sent. A body that was given whole is kept, so that its length is known and a
 * redirect may send it again.
 */
async function prepare(source, init, known, signal) {
  const request = { method: source.method, url: source.url, headers: source.headers, signal };
  const { body } = source;
  if (!body) {
    if (request.headers.has('content-length')) setLength((request.headers = new Headers(request.headers)), undefined);
    return { request, bytes: null, stream: null };
  }
  const whole = init?.body !== undefined && init.body !== null && !isStream(init.body);
  const bytes = whole ? Buffer.from(await source.arrayBuffer()) : null;
  const length = whole ? bytes.length : known;
  if (String(length ?? '') !== (request.headers.get('content-length') ?? ''))
    setLength((request.headers = new Headers(request.headers)), length);
  return { request, bytes, stream: whole ? null : body };
}

/**
 * The `fetch` of one call. incoming: the request that the handler was given, which is passed on without following
 * redirects, as whoever sent it expects.
 */
export function makeFetch(socket, call, incoming) {
  const length = incoming?.body ? lengthOf(incoming.body) : undefined;
  return async function fetch(input, init) {
    const passOn = input === incoming && init?.redirect === undefined;
    // a second Request costs more than the rest of this function; egress itself ends the fetches of a call that ends
    const asIs = input === incoming && init === undefined && !input.bodyUsed;
    const source = asIs ? input : new Request(input, input === incoming && input.body ? { ...init, duplex: 'half' } : init);
    const mode = passOn ? 'manual' : (init?.redirect ?? source.redirect);
    if (source.headers.get('upgrade'))
      return new Response('Handlers do not pass on WebSockets: let the policy allow this host past them.\n', { status: 501 });
    const sameBody = input === incoming && (init?.body ?? undefined) === undefined;
    const prepared = await prepare(source, init, sameBody ? length : undefined, asIs ? undefined : source.signal);
    let { request, bytes, stream } = prepared;
    for (let hops = 0; ; hops++) {
      const answer = await once(socket, call, request, stream ?? (bytes && new Blob([bytes]).stream()));
      const location = answer.headers.find(([name]) => name === 'location')?.[1];
      if (!REDIRECTS.has(answer.status) || !location || mode === 'manual') return toResponse(answer, request, hops > 0);
      await answer.body.cancel().catch(() => {});
      if (mode === 'error') throw new TypeError('fetch failed: unexpected redirect');
      if (hops === MAX_REDIRECTS) throw new TypeError('fetch failed: too many redirects');
      const next = redirectedRequest(request, answer.status, location);
      if (stream && next.keepsBody) throw new TypeError('fetch failed: a streamed body cannot be sent again');
      request = next.request;
      stream = null;
      if (!next.keepsBody) bytes = null;
    }
  };
}
