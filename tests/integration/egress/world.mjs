/** HTTP/2, gRPC and WebSocket servers of the tests' world. world.mjs ADDRESS FOLDER; prints "ready". */
import crypto from 'node:crypto';
import fs from 'node:fs';
import http2 from 'node:http2';
import process from 'node:process';

const [address, folder] = process.argv.slice(2);
const server = http2.createSecureServer({
  key: fs.readFileSync(`${folder}/server.key`),
  cert: fs.readFileSync(`${folder}/server.pem`),
  allowHTTP1: true,
});

const frame = (bytes) => Buffer.concat([Buffer.from([0, 0, 0, 0, bytes.length]), bytes]);

/** gRPC: length-prefixed messages, the status in trailers. */
function grpc(stream, path) {
  const chunks = [];
  stream.on('data', (c) => chunks.push(c));
  stream.on('end', () => {
    const message = Buffer.concat(chunks).subarray(5);
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'grpc-message': 'fine' }));
    const times = path.endsWith('Stream') ? 3 : 1;
    for (let i = 0; i < times; i++) stream.write(frame(Buffer.concat([Buffer.from('hello '), message])));
    stream.end();
  });
}

server.on('stream', (stream, headers) => {
  stream.on('error', () => {});
  if (headers['content-type']?.startsWith('application/grpc')) {
    grpc(stream, headers[':path']);
    return;
  }
  let length = 0;
  stream.on('data', (c) => {
    length += c.length;
  });
  stream.on('end', () => {
    stream.respond({ ':status': 200, 'content-type': 'application/json' });
    stream.end(JSON.stringify({ protocol: 'HTTP/2', path: headers[':path'], headers, length }));
  });
});

/** WebSocket (RFC 6455): echoes text frames of less than 126 bytes. */
server.on('upgrade', (request, socket) => {
  const accept = crypto
    .createHash('sha1')
    .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest('base64');
  socket.on('error', () => {});
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  let held = Buffer.alloc(0);
  socket.on('data', (data) => {
    held = Buffer.concat([held, data]);
    while (held.length >= 6 && held.length >= 6 + (held[1] & 0x7f)) {
      const length = held[1] & 0x7f;
      const mask = held.subarray(2, 6);
      const payload = Buffer.from(held.subarray(6, 6 + length).map((b, i) => b ^ mask[i % 4]));
      if ((held[0] & 0x0f) === 8) {
        socket.end(Buffer.from([0x88, 0]));
        return;
      }
      const text = Buffer.concat([Buffer.from(`${request.headers.authorization ?? 'nobody'}: `), payload]);
      socket.write(Buffer.concat([Buffer.from([0x81, text.length]), text]));
      held = held.subarray(6 + length);
    }
  });
});

server.listen(8443, address, () => process.stdout.write('ready\n'));
process.stdin.on('end', () => process.exit(0)).resume();
