// An engine as its keeper sees it: hands over a function and memory that are none, then does what it is told. argv: ADDRESS,
// then `die`, `wait`, `release` or `babble`.
import { KeeperLink } from '../../dist/lib/keeper/link.js';
import { loadNative } from '../../dist/native/index.js';

const [address, what] = process.argv.slice(2);
const native = loadNative();
const link = new KeeperLink(native, Number(process.env.LINECARD_KEEPER));
const fd = native.eventfd();
link.onLost(() => process.exit(7));
link.keep({ address, backend: 'uio', fd, configFile: { fd: native.eventfd(), position: 0 } }, [
  { fd: native.eventfd() },
]);
if (what === 'die') process.kill(process.pid, 'SIGKILL');
if (what === 'release') {
  await link.release(address, []);
  process.exit(0);
}
// What comes twice is no protocol.
if (what === 'babble') link.send({ type: 'hello', version: 1 });
setInterval(() => {}, 1000);
