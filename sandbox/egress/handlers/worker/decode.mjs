/**
 * Bodies that fetch got. They are decoded when somebody reads them, as the Fetch standard wants it; one that is only
 * passed on leaves as it came, with its Content-Encoding and Content-Length.
 */
import { Readable, pipeline } from 'node:stream';
import zlib from 'node:zlib';

const LENIENT = { flush: zlib.constants.Z_SYNC_FLUSH, finishFlush: zlib.constants.Z_SYNC_FLUSH };
const DECODERS = {
  gzip: () => zlib.createGunzip(LENIENT),
  'x-gzip': () => zlib.createGunzip(LENIENT),
  deflate: () => zlib.createInflate(LENIENT),
  br: () => zlib.createBrotliDecompress(),
};

/** stream that a handler sees -> {headers, raw}: what it was before. */
const kept = new WeakMap();

const isFraming = (name) => name === 'content-encoding' || name === 'content-length';
const named = (headers, name) => headers.filter(([n]) => n === name).map(([, value]) => value);

function decoding(raw, makers) {
  let reader = null;
  const open = () => {
    const decoders = makers.map((make) => make());
    // its error reaches the reader through the last decoder
    pipeline([Readable.fromWeb(raw), ...decoders], () => {});
    return Readable.toWeb(decoders.at(-1)).getReader();
  };
  return new ReadableStream(
    {
      async pull(controller) {
        reader ??= open();
        const { done, value } = await reader.read();
        if (done) controller.close();
        else controller.enqueue(new Uint8Array(value));
      },
      cancel: (reason) => (reader ?? raw).cancel(reason),
    },
    { highWaterMark: 0 },
  );
}

/** {headers, body} as a handler sees them. */
export function opened(headers, raw) {
  const codings = named(headers, 'content-encoding')
    .flatMap((value) => value.toLowerCase().split(','))
    .map((coding) => coding.trim())
    .filter((coding) => coding && coding !== 'identity');
  const known = codings.length > 0 && codings.every((coding) => Object.hasOwn(DECODERS, coding));
  const body = known ? decoding(raw, codings.reverse().map((coding) => DECODERS[coding])) : raw;
  kept.set(body, { framing: headers.filter(([name]) => isFraming(name)), raw });
  return { headers: known ? headers.filter(([name]) => !isFraming(name)) : headers, body };
}

/** What leaves for {headers, body} of a handler; used: whether somebody has read of it already. */
export function closed(headers, body, used) {
  const before = used || body.locked ? undefined : kept.get(body);
  if (before) return { headers: [...headers.filter(([name]) => !isFraming(name)), ...before.framing], body: before.raw };
  // whose length it says is not known
  return { headers: headers.filter(([name]) => name !== 'content-length'), body };
}

/** A request's body whose length is known: it may say so when it is passed on. */
export function keepLength(headers, body) {
  kept.set(body, { framing: headers.filter(([name]) => name === 'content-length'), raw: body });
}

/** The Content-Length under which that body may be sent. */
export function lengthOf(body) {
  return kept.get(body)?.framing.find(([name]) => name === 'content-length')?.[1];
}
