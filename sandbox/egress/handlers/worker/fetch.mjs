/** The fetch() of handlers: over egress, so that policy, credentials and log apply; this process has no network. */
import { CANCEL, FETCH, send } from './frames.mjs';
import { Incoming, Outgoing } from './bodies.mjs';

const REDIRECTS = new Set([301, 302, 303, 307, 308]);
const NO_BODY = new Set([101, 204, 205, 304]);
const MAX_REDIRECTS = 20;

let nextStream = 1;

/** Everything that waits for frames, by stream. */
export const fetches = new Map();

/** One request without redirects; resolves with {status, headers, body}. */
function once(socket, call, request, body) {
  const id = nextStream;
  nextStream += 2;
  return new Promise((resolve, reject) => {
    const outgoing = body ? new Outgoing(socket, id) : null;
    const entry = {
      head({ status, headers }) {
        entry.incoming = new Incoming(socket, id, () => {
          send(socket, CANCEL, id);
          fetches.delete(id);
        });
        resolve({ status, headers, body: entry.incoming.stream });
      },
      data: (payload) => entry.incoming?.push(payload),
      end() {
        entry.incoming?.end();
        fetches.delete(id);
      },
      error(message) {
        const error = new TypeError(`fetch failed: ${message}`);
        entry.incoming?.fail(error);
        outgoing?.cancel(error);
        reject(error);
        fetches.delete(id);
      },
      window: (bytes) => outgoing?.window(bytes),
    };
    fetches.set(id, entry);
    request.signal?.addEventListener('abort', () => {
      if (!fetches.has(id)) return;
      send(socket, CANCEL, id);
      fetches.delete(id);
      const error = request.signal.reason ?? new DOMException('This operation was aborted', 'AbortError');
      entry.incoming?.fail(error);
      outgoing?.cancel(error);
      reject(error);
    });
    send(socket, FETCH, id, {
      call,
      method: request.method,
      url: request.url,
      headers: [...request.headers],
      body: Boolean(body),
    });
    outgoing?.run(body).catch((error) => {
      send(socket, CANCEL, id);
      fetches.delete(id);
      reject(error);
    });
  });
}

function toResponse(answer, url, redirected) {
  const response = new Response(NO_BODY.has(answer.status) ? null : answer.body, {
    status: answer.status,
    headers: answer.headers,
  });
  Object.defineProperty(response, 'url', { value: url });
  Object.defineProperty(response, 'redirected', { value: redirected });
  return response;
}

/** What the next request after a redirect looks like (Fetch standard, HTTP-redirect fetch). */
function redirectedRequest(request, status, location) {
  const next = new URL(location, request.url);
  const headers = new Headers(request.headers);
  let { method } = request;
  const toGet =
    (status === 303 && method !== 'HEAD') || ((status === 301 || status === 302) && method === 'POST');
  if (toGet) {
    method = 'GET';
    for (const name of ['content-type', 'content-length', 'content-encoding', 'content-language']) headers.delete(name);
  }
  if (next.origin !== new URL(request.url).origin) {
    for (const name of ['authorization', 'cookie', 'proxy-authorization']) headers.delete(name);
  }
  return { request: { method, url: next.href, headers, signal: request.signal }, keepsBody: !toGet };
}

/**
 * The `fetch` of one call. incoming: the request that the handler was given, which is passed on without following
 * redirects, as whoever sent it expects.
 */
export function makeFetch(socket, call, incoming) {
  return async function fetch(input, init) {
    const passOn = input === incoming && init?.redirect === undefined;
    // a second Request of the same costs more than the rest of this function
    const asIs = input === incoming && init === undefined && !input.bodyUsed;
    const source = asIs ? input : new Request(input, input === incoming && input.body ? { ...init, duplex: 'half' } : init);
    const mode = passOn ? 'manual' : (init?.redirect ?? source.redirect);
    let request = { method: source.method, url: source.url, headers: source.headers, signal: source.signal };
    let { body } = source;
    for (let hops = 0; ; hops++) {
      const answer = await once(socket, call, request, body);
      const location = answer.headers.find(([name]) => name === 'location')?.[1];
      if (!REDIRECTS.has(answer.status) || !location || mode === 'manual')
        return toResponse(answer, request.url, hops > 0);
      if (mode === 'error') throw new TypeError('fetch failed: unexpected redirect');
      if (hops === MAX_REDIRECTS) throw new TypeError('fetch failed: too many redirects');
      await answer.body.cancel().catch(() => {});
      const next = redirectedRequest(request, answer.status, location);
      if (body && next.keepsBody) throw new TypeError('fetch failed: a streamed body cannot be sent again');
      request = next.request;
      body = null;
    }
  };
}

