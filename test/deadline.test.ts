import { expect, it } from 'vitest';
import { inTime, orLate } from '../lib/deadline.ts';

it('inTime: true when the promise resolves, whatever it resolves to', async () => {
  expect(await inTime(Promise.resolve(false), 10_000)).toBe(true);
});

it('inTime: false when it does not', async () => {
  expect(await inTime(new Promise(() => {}), 10)).toBe(false);
});

it('inTime: rejects as the promise does', async () => {
  await expect(inTime(Promise.reject(new Error('no')), 10_000)).rejects.toThrow('no');
});

it('inTime: leaves no timer behind', async () => {
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const before = timers();
  await inTime(Promise.resolve(), 600_000);
  await inTime(Promise.reject(new Error('no')), 600_000).catch(() => {});
  await new Promise((resolve) => setImmediate(resolve));
  expect(timers()).toBe(before);
});

const late = () => new Error('late');

it('orLate: resolves and rejects as the promise does', async () => {
  expect(await orLate(Promise.resolve(5), 10_000, late)).toBe(5);
  await expect(orLate(Promise.reject(new Error('no')), 10_000, late)).rejects.toThrow('no');
});

it('orLate: rejects with what is made when the time is up, and a promise that rejects later harms nobody', async () => {
  let reject: (error: Error) => void = () => {};
  const promise = new Promise<never>((_, no) => {
    reject = no;
  });
  await expect(orLate(promise, 10, late)).rejects.toThrow('late');
  reject(new Error('too late'));
  await new Promise((resolve) => setTimeout(resolve, 5)); // an unhandled rejection would fail this file
});
