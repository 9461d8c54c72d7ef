/** An origin that writes down what it takes for requests. origin.mjs ADDRESS FOLDER PORT LOG; prints "ready". */
import fs from 'node:fs';
import https from 'node:https';
import process from 'node:process';

const [address, folder, port, log] = process.argv.slice(2);
const note = (request) =>
  fs.appendFileSync(log, `${JSON.stringify([request.method, request.url, request.headers['x-key'] ?? ''])}\n`);
const server = https.createServer({ key: fs.readFileSync(`${folder}/server.key`), cert: fs.readFileSync(`${folder}/server.pem`) });

server.on('request', (request, response) => {
  note(request);
  request.resume().on('end', () => response.end('fine\n'));
});
// it does not switch, and keeps the connection: what comes next is one more request
server.on('upgrade', (request, socket) => {
  note(request);
  socket.on('error', () => {});
  socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfine\n');
  socket.on('data', (data) => fs.appendFileSync(log, `${JSON.stringify(['RAW', data.toString('latin1'), ''])}\n`));
});
server.on('clientError', (error, socket) => {
  // a connection that ends in the middle is no request
  if (error.code !== 'HPE_INVALID_EOF_STATE' && error.code !== 'ECONNRESET')
    fs.appendFileSync(log, `${JSON.stringify(['BROKEN', String(error.code), ''])}\n`);
  socket.destroy();
});
server.listen(Number(port), address, () => process.stdout.write('ready\n'));
process.stdin.on('end', () => process.exit(0)).resume();
