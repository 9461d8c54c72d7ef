import assert from 'node:assert/strict';
import test from 'node:test';
import zlib from 'node:zlib';
import { CANCEL, DATA, DONE, END, ERROR, FETCH, HEAD, LOG, Peer, UNLOAD, WINDOW } from './peer.mjs';

/** A peer with the module m, gone when the test is over. */
async function peerWith(t, source, options) {
  const peer = new Peer();
  t.after(() => peer.close());
  if (source) assert.equal(await peer.load(source, options), undefined);
  return peer;
}

const field = (answer, name) => answer.headers.filter(([n]) => n === name).map(([, value]) => value);

test('a handler gets what was asked, and its env', async (t) => {
  const peer = await peerWith(
    t,
    `export default async (request, env, ctx) => Response.json([request.method, request.url, request.redirect,
      [...request.headers], await request.text(), env, Object.isFrozen(env), ctx.sandbox, ctx.containerId, ctx.params])`,
    { env: { KEY: 'value' } },
  );
  const answer = await peer.ask('m', { method: 'PUT', headers: [['x', 'ÿ']], params: { a: 1 }, body: 'text' });
  const sandbox = { name: 'box', id: 'id' };
  assert.deepEqual(JSON.parse(answer.body), [
    'PUT', 'https://one.test/', 'manual', [['x', 'ÿ']], 'text', { KEY: 'value' }, true, sandbox, 'id', { a: 1 },
  ]);
});

test('calls that come before a module is ready wait for it, and unloading takes its turn', async (t) => {
  const peer = await peerWith(t);
  const source = 'await new Promise((f) => setTimeout(f, 20)); export default () => new Response("here");';
  const loaded = peer.load(source);
  const answer = await peer.ask('m');
  assert.equal(answer.body.toString(), 'here');
  assert.equal(await loaded, undefined);
  const again = peer.load(source);
  peer.send(UNLOAD, 0, { name: 'm' });
  await again;
  await peer.rest();
  assert.match((await peer.ask('m')).error, /not loaded/);
});

test('a load that takes longer than the next one of its name does not win', async (t) => {
  const peer = await peerWith(t);
  const slow = peer.load('await new Promise((f) => setTimeout(f, 30)); export default () => new Response("old");');
  const fast = peer.load('export default () => new Response("new");');
  await Promise.all([slow, fast]);
  assert.equal((await peer.ask('m')).body.toString(), 'new');
});

test('the line of a syntax error, wherever it is', async (t) => {
  const peer = await peerWith(t);
  for (const line of [1, 2, 37, 200]) {
    const lines = Array.from({ length: 200 }, (_, i) => `const v${i} = [() => {}];`);
    lines[line - 1] = 'const = 1;';
    assert.match(await peer.load(lines.join('\n')), new RegExp(`^line ${line}: Unexpected token`));
  }
  assert.match(await peer.load('export default {\n  a: `\n'), /^line 3: Unexpected end of input/);
});

test('headers and bodies of fetch', async (t) => {
  const peer = await peerWith(
    t,
    `export default async () => {
      const r = await fetch('https://two.test/x', { method: 'POST', headers: { a: 'b', 'content-length': '99' }, body: 'päyload' });
      return Response.json([r.status, r.url, r.redirected, r.headers.getSetCookie(), await r.text()]);
    }`,
  );
  const id = peer.call();
  const asked = await peer.serve(201, [['set-cookie', 'a=1'], ['set-cookie', 'b=2'], ['x', 'y']], 'answer');
  assert.equal(asked.call, id);
  assert.equal(asked.method, 'POST');
  assert.equal(asked.url, 'https://two.test/x');
  assert.deepEqual(field(asked, 'content-length'), ['8']);
  assert.equal(asked.sent.toString(), 'päyload');
  const said = JSON.parse((await peer.answer(id)).body);
  assert.deepEqual(said, [201, 'https://two.test/x', false, ['a=1', 'b=2'], 'answer']);
});

test('a body that is passed on keeps its length, one that is replaced has its own', async (t) => {
  const peer = await peerWith(
    t,
    `export default { outboundHandlers: {
      pass: (request) => fetch(request),
      header: (request) => fetch(request, { headers: { ...Object.fromEntries(request.headers), x: 'y' } }),
      change: (request) => fetch(request.url, { method: 'POST', headers: request.headers, body: 'other' }),
      stream: (request) => fetch(request.url, { method: 'POST', headers: request.headers, duplex: 'half',
        body: request.body.pipeThrough(new TransformStream()) }),
    } }`,
  );
  for (const [name, length, text] of [['pass', ['4'], 'text'], ['header', ['4'], 'text'], ['change', ['5'], 'other'], ['stream', [], 'text']]) {
    const id = peer.call(`m.${name}`, { method: 'POST', headers: [['content-length', '4']], body: 'text' });
    const asked = await peer.serve(200, [['content-length', '2']], 'ok');
    assert.deepEqual(field(asked, 'content-length'), length, name);
    assert.equal(asked.sent.toString(), text, name);
    assert.deepEqual(field(await peer.answer(id), 'content-length'), ['2'], name);
  }
});

test('encoded answers: as they are when passed on, decoded when read', async (t) => {
  const peer = await peerWith(
    t,
    `export default { outboundHandlers: {
      pass: (request) => fetch(request),
      header: async (request) => { const r = await fetch(request); return new Response(r.body, { headers: { ...Object.fromEntries(r.headers), x: 'y' } }); },
      read: async (request) => { const r = await fetch(request); return Response.json([await r.text(), [...r.headers.keys()]]); },
      clone: async (request) => { const r = await fetch(request); const c = r.clone(); await c.text(); return r; },
    } }`,
  );
  const text = 'much of the same '.repeat(1000);
  const packed = { gzip: zlib.gzipSync(text), deflate: zlib.deflateSync(text), br: zlib.brotliCompressSync(text), 'deflate, gzip': zlib.gzipSync(zlib.deflateSync(text)) };
  for (const [coding, bytes] of Object.entries(packed)) {
    const ask = async (name) => {
      const id = peer.call(`m.${name}`);
      await peer.serve(200, [['content-encoding', coding], ['content-length', String(bytes.length)]], bytes);
      return peer.answer(id);
    };
    for (const name of ['pass', 'header']) {
      const answer = await ask(name);
      assert.deepEqual(answer.body, bytes, `${name} ${coding}`);
      assert.deepEqual(field(answer, 'content-encoding'), [coding]);
      assert.deepEqual(field(answer, 'content-length'), [String(bytes.length)]);
    }
    assert.deepEqual(JSON.parse((await ask('read')).body), [text, []]);
    const cloned = await ask('clone');
    assert.equal(cloned.body.toString(), text);
    assert.deepEqual(field(cloned, 'content-encoding'), []);
  }
  const id = peer.call('m.read');
  await peer.serve(200, [['content-encoding', 'gzip']], 'this is no gzip');
  assert.match((await peer.answer(id)).error, /incorrect header check/);
  const unknown = peer.call('m.read');
  await peer.serve(200, [['content-encoding', 'zstd']], 'raw');
  assert.deepEqual(JSON.parse((await peer.answer(unknown)).body), ['raw', ['content-encoding']]);
});

test('redirects', async (t) => {
  const peer = await peerWith(
    t,
    `const show = async (r) => Response.json([r.status, r.url, r.redirected]);
    const post = { method: 'POST', body: 'text', headers: { authorization: 'x', cookie: 'y' } };
    export default { outboundHandlers: {
      pass: (request) => fetch(request),
      follow: async () => show(await fetch('https://one.test/a', post)),
      streamed: () => fetch('https://one.test/a', { ...post, body: new Blob(['text']).stream(), duplex: 'half' }),
      manual: async () => show(await fetch('https://one.test/a', { redirect: 'manual' })),
      error: () => fetch('https://one.test/a', { redirect: 'error' }),
    } }`,
  );
  const id = peer.call('m.pass');
  await peer.serve(302, [['location', '/b']]);
  assert.equal((await peer.answer(id)).status, 302);

  for (const [status, method, sent] of [[301, 'GET', ''], [303, 'GET', ''], [307, 'POST', 'text'], [308, 'POST', 'text']]) {
    const call = peer.call('m.follow');
    await peer.serve(status, [['location', 'https://two.test/b']]);
    const second = await peer.serve(200);
    assert.equal(second.method, method);
    assert.equal(second.sent.toString(), sent);
    assert.deepEqual([field(second, 'authorization'), field(second, 'cookie')], [[], []], 'credentials stay');
    assert.deepEqual(JSON.parse((await peer.answer(call)).body), [200, 'https://two.test/b', true]);
  }
  const same = peer.call('m.follow');
  await peer.serve(307, [['location', '/b']]);
  assert.deepEqual(field(await peer.serve(200), 'authorization'), ['x']);
  await peer.answer(same);

  const streamed = peer.call('m.streamed');
  await peer.serve(307, [['location', '/b']]);
  assert.match((await peer.answer(streamed)).error, /streamed body/);
  const manual = peer.call('m.manual');
  await peer.serve(302, [['location', '/b']]);
  assert.equal(JSON.parse((await peer.answer(manual)).body)[0], 302);
  const error = peer.call('m.error');
  await peer.serve(302, [['location', '/b']]);
  assert.match((await peer.answer(error)).error, /unexpected redirect/);
  const round = peer.call('m.follow');
  for (let i = 0; i <= 20; i++) await peer.serve(302, [['location', '/b']]);
  assert.match((await peer.answer(round)).error, /too many redirects/);
});

test('windows hold both ways', async (t) => {
  const peer = await peerWith(
    t,
    `export default { outboundHandlers: {
      endless: () => new Response(new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(100000)); } })),
      slow: async (request) => { await new Promise(() => {}); },
    } }`,
  );
  const id = peer.call('m.endless');
  await peer.next(HEAD, id);
  const sent = (await peer.rest()).filter((f) => f.type === DATA).reduce((n, f) => n + f.payload.length, 0);
  assert.ok(sent >= 256 * 1024 && sent <= 320 * 1024, String(sent));
  peer.send(CANCEL, id);
  const upload = peer.call('m.slow', { method: 'POST', body: undefined });
  for (let i = 0; i < 4; i++) peer.send(DATA, upload, Buffer.alloc(65536));
  const granted = (await peer.rest()).filter((f) => f.type === WINDOW && f.stream === upload).reduce((n, f) => n + f.payload.readUInt32LE(), 0);
  assert.ok(granted < 256 * 1024, String(granted));
});

test('cancelling reaches the signal, the body and the fetches', async (t) => {
  const peer = await peerWith(
    t,
    `let said = [];
    export default { outboundHandlers: {
      body: (request) => new Response(new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(9)); return new Promise(() => {}); }, cancel(r) { said.push(r.name); } })),
      signal: (request) => new Promise(() => request.signal.addEventListener('abort', () => said.push(request.signal.reason.name))),
      own: async () => { const a = new AbortController(); setTimeout(() => a.abort(), 5); return fetch('https://one.test/', { signal: a.signal }); },
      before: () => fetch('https://one.test/', { signal: AbortSignal.abort() }),
      drop: async () => { const r = await fetch('https://one.test/'); await r.body.cancel(); return new Response('dropped'); },
      said: () => Response.json(said),
    } }`,
  );
  for (const name of ['body', 'signal']) {
    const id = peer.call(`m.${name}`);
    if (name === 'body') await peer.next(DATA, id);
    else await peer.rest();
    peer.send(CANCEL, id);
  }
  assert.deepEqual(JSON.parse((await peer.ask('m.said')).body), ['AbortError', 'AbortError']);
  const id = peer.call('m.own');
  const fetch = await peer.json(FETCH);
  await peer.next(CANCEL, fetch.stream);
  assert.match((await peer.answer(id)).error, /aborted/);
  assert.match((await peer.ask('m.before')).error, /aborted/);
  const drop = peer.call('m.drop');
  const dropped = await peer.json(FETCH);
  peer.send(HEAD, dropped.stream, { status: 200, headers: [] });
  await peer.next(CANCEL, dropped.stream);
  assert.equal((await peer.answer(drop)).body.toString(), 'dropped');
  assert.deepEqual(await peer.rest(), []);
});

test('an answer that is complete before the request ends both', async (t) => {
  const peer = await peerWith(
    t,
    `let ended;
    export default { outboundHandlers: {
      upload: async () => (await fetch('https://one.test/', { method: 'POST', duplex: 'half',
        body: new ReadableStream({ pull: (c) => c.enqueue(new Uint8Array(70000)), cancel: () => { ended = 'cancelled'; } }) })),
      ended: () => new Response(ended),
    } }`,
  );
  const id = peer.call('m.upload');
  const fetch = await peer.json(FETCH);
  peer.sendAll([HEAD, fetch.stream, { status: 413, headers: [] }], [END, fetch.stream]);
  assert.equal((await peer.answer(id)).status, 413);
  assert.equal((await peer.ask('m.ended')).body.toString(), 'cancelled');
});

test('waitUntil keeps a call until it is over', async (t) => {
  const peer = await peerWith(
    t,
    `export default (request, env, ctx) => { ctx.waitUntil((async () => { await 1; await fetch('https://two.test/'); throw new Error('logged'); })());
      return new Response(request.method === 'HEAD' ? null : 'now'); }`,
  );
  for (const method of ['GET', 'HEAD']) {
    const id = peer.call('m', { method });
    const answer = await peer.answer(id);
    assert.equal(answer.lingers, true);
    await peer.serve();
    await peer.next(DONE, id);
    assert.match((await peer.next(LOG)).payload.toString(), /waitUntil: logged/);
  }
});

test('what a console prints is bounded', async (t) => {
  const peer = await peerWith(
    t,
    `export default () => { const a = {}; a.a = a; console.log('%s', a, 1n, new Error('e').message, 'x'.repeat(5000));
      for (const k of Object.keys(console)) console[k]({ toString() { throw 1; }, get b() { throw 1; } });
      for (let i = 0; i < 1000; i++) console.log(i); return new Response('fine'); }`,
  );
  assert.equal((await peer.ask('m')).body.toString(), 'fine');
  const lines = (await peer.rest()).filter((f) => f.type === LOG);
  assert.ok(lines.length > 10 && lines.length <= 200, String(lines.length)); // two seconds' worth at most
  assert.match(lines[0].payload.toString(), /^m: %s <ref \*1> \{ a: \[Circular \*1\] \} 1n e x+$/);
  assert.ok(lines.every((f) => f.payload.length <= 500));
});

test('nothing leads to the process, and nothing that ends it is left', async (t) => {
  const peer = new Peer('--disallow-code-generation-from-strings');
  t.after(() => peer.close());
  await peer.load(`export default (request, env, ctx) => new Response(String([fetch, Request, request, setTimeout, ctx, ctx.waitUntil, console.log, crypto].map((o) => {
    try { return o.constructor.constructor('return process')(); } catch (e) { return e.name; } })))`);
  assert.equal((await peer.ask('m')).body.toString(), Array(8).fill('EvalError').join());
  // without that flag it is found, but can do little
  const open = await peerWith(
    t,
    `export default () => { const p = setTimeout.constructor('return process')(); return new Response(
      String(['exit', 'reallyExit', 'kill', 'abort', 'binding', 'dlopen', 'getBuiltinModule'].map((k) => typeof p[k]))); }`,
  );
  assert.equal((await open.ask('m')).body.toString(), Array(7).fill('undefined').join());
});

test('many calls leave nothing behind', async (t) => {
  const peer = await peerWith(t, 'export default (request) => fetch(request);');
  for (let i = 0; i < 1000; i++) {
    const id = peer.call();
    await peer.serve(200, [], 'text');
    assert.equal((await peer.answer(id)).body.toString(), 'text');
  }
  assert.deepEqual((await peer.rest()).filter((f) => f.type !== WINDOW), []);
});

test('the socket ends: so does the worker', async () => {
  const peer = new Peer();
  await peer.rest();
  await peer.close();
  assert.equal(peer.process.exitCode, 0);
});

test('errors of streams', async (t) => {
  const peer = await peerWith(t, `export default { outboundHandlers: { bad: () => new Response(new ReadableStream({ start(c) { c.enqueue({}); } })),
    text: () => new Response(new ReadableStream({ start(c) { c.enqueue('text'); c.enqueue(new Uint8Array([65])); c.close(); } })),
    read: async () => { const r = new Response('x'); await r.text(); return r; } } }`);
  const id = peer.call('m.bad');
  await peer.next(HEAD, id);
  assert.match(JSON.parse((await peer.next(ERROR, id)).payload).message, /Uint8Array/);
  assert.equal((await peer.ask('m.text')).body.toString(), 'textA');
  assert.match((await peer.ask('m.read')).error, /read already/);
});
