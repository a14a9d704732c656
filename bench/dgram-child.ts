/** Entry of the echo server that udp-echo is compared to: Node's own sockets. Argument: its port. Ends with its standard input. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';

const socket = createSocket('udp4');
socket.on('message', (data, { port, address }) => socket.send(data, port, address));
socket.bind(Number(process.argv[2]));
await once(socket, 'listening');
console.log('ready');
process.stdin.on('end', () => socket.close()).resume();
