// What Node opens that Python does not: an inspector, descriptors of its own, rings of the kernel, native code.
// Runs as a cell of a JavaScript context.
const fs = require('node:fs');
const net = require('node:net');
const { spawnSync } = require('node:child_process');

const escaped = [];
let checked = 0;
const must = (what, held) => { checked++; if (!held) escaped.push(what); };
const fails = (what, code, attempt) => {
  try {
    attempt();
    must(`${what} worked`, false);
  } catch (e) {
    must(`${what} (got ${e.code})`, [code].flat().includes(e.code));
  }
};
const listening = () => ['tcp', 'tcp6'].flatMap((f) => fs.readFileSync(`/proc/net/${f}`, 'utf8').trim().split('\n').slice(1))
  .filter((line) => line.trim().split(/\s+/)[3] === '0A')
  .filter((line) => !line.trim().split(/\s+/)[1].endsWith(':0001')); // the listeners of the box's egress

// The signal that makes any other Node listen for a debugger.
let signalled = false;
process.kill(process.pid, 'SIGUSR1');
process.once('SIGUSR1', () => { signalled = true; });
process.kill(process.pid, 'SIGUSR1');
await new Promise((r) => setTimeout(r, 200));
must('SIGUSR1 without a listener of the program', signalled);
process.removeAllListeners('SIGUSR1');
must('somebody listens', listening().length === 0);
const refused = await new Promise((r) => net.connect(9229, '127.0.0.1', () => r(false)).on('error', () => r(true)));
must('a debugger answers', refused);

// The runner's descriptors: out of the way, and of no child.
const links = fs.readdirSync('/proc/self/fd').map(Number).filter((fd) => fd > 2 && fd < 512)
  .map((fd) => { try { return fs.readlinkSync(`/proc/self/fd/${fd}`); } catch { return ''; } });
must('a socket or memory of the runner among the low descriptors', !links.some((l) => l.startsWith('socket:') || l.includes('memfd')));
must('an io_uring', !links.some((l) => l.includes('io_uring')));
const inherited = spawnSync('/bin/ls', ['/proc/self/fd'], { encoding: 'utf8' }).stdout.trim().split('\n').map(Number);
must(`a child has descriptors ${inherited}`, Math.max(...inherited) <= 4);
must('flags of the runner in children', process.execArgv.length === 0);

// Root stays out of reach, and what the runner is made of cannot be changed.
must('uid 0', process.getuid() !== 0);
fails('setuid(0)', ['EPERM', 'ERR_UNKNOWN_CREDENTIAL'], () => process.setuid(0));
fails('writing the runner', 'EROFS', () => fs.writeFileSync('/opt/cellbox/node/lib/main.js', ''));
fails('memory of init', ['EACCES', 'EPERM'], () => fs.openSync('/proc/1/mem', 'r+'));
fails('descriptors of init', ['EACCES', 'EPERM'], () => fs.readdirSync('/proc/1/fd'));
fails('killing init', 'EPERM', () => process.kill(1, 'SIGKILL'));
fails('raising a priority', ['EACCES', 'EPERM', 'ERR_SYSTEM_ERROR'], () => require('node:os').setPriority(-10));
const capabilities = /CapEff:\s*(\w+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1];
must(`capabilities ${capabilities}`, /^0+$/.test(capabilities));
must('no filter', /Seccomp:\s*2/.test(fs.readFileSync('/proc/self/status', 'utf8')));

// Protocol by the back door: the addon is there for whoever asks, and ends only the context that misuses it.
must('the addon takes a second main', (() => {
  try {
    require('/opt/cellbox/node/cbx-node.node').attach(() => {}, () => {}, () => {});
    return false;
  } catch {
    return true;
  }
})());

console.log(escaped.length ? `ESCAPED: ${escaped.join('; ')}` : checked > 15 ? 'CONTAINED' : 'ESCAPED: nothing was checked');
