/**
 * Entry of the processes at the ends of the wires, each in its namespace:
 *
 *   drop IFINDEX         drops what comes, in the driver
 *   send IFINDEX FRAME   sends the frame (hexadecimal) as fast as it can, from a line "start" until SIGUSR2
 *
 * Each says "ready", and ends with its standard input.
 */
import { createInterface } from 'node:readline';
import { loadNative } from '../native/index.ts';
import { dropAll, frameSender } from './bpf.ts';

async function send(ifindex: number, frame: Uint8Array): Promise<void> {
  // Sending is one system call, which a signal ends; without a handler it would end the process.
  process.on('SIGUSR2', () => {});
  const sendUntilSignal = frameSender(loadNative(), ifindex, frame);
  console.log('ready');
  for await (const line of createInterface({ input: process.stdin })) {
    if (line !== 'start') continue;
    sendUntilSignal();
    console.log('stopped');
  }
}

async function main([role, ifindex, frame = '']: string[]): Promise<void> {
  if (role === 'send') {
    await send(Number(ifindex), Buffer.from(frame, 'hex'));
    process.exit(); // the handler would keep it
  }
  dropAll(loadNative(), Number(ifindex));
  console.log('ready');
  process.stdin.resume();
}

await main(process.argv.slice(2));
