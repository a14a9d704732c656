import { describe, expect, it, vi } from 'vitest';
import { GATE, GATE_BYTES, Gate, isOpen, NOBODY } from '../../lib/arena/gate.ts';

function world() {
  const memory = new SharedArrayBuffer(64 + GATE_BYTES);
  const wake = vi.fn();
  const gate = new Gate(memory, 64, wake);
  const words = new Int32Array(memory, 64, GATE.words);
  /** The worker's look: it acts on what is wanted, and says so. */
  const look = () => Atomics.store(words, GATE.seen, words[GATE.wanted]);
  return { gate, words, wake, look };
}

describe('A gate', () => {
  it('is closed at first, with nobody behind it', () => {
    const { gate, words } = world();
    expect(gate.open).toBe(false);
    expect(gate.settled).toBe(true);
    expect(words[GATE.seen]).toBe(NOBODY);
  });

  it('opens and closes, and wakes who sleeps each time it changes, not otherwise', () => {
    const { gate, words, wake } = world();
    gate.set(true);
    expect([gate.open, isOpen(words[GATE.wanted])]).toEqual([true, true]);
    gate.set(true);
    expect(wake).toHaveBeenCalledTimes(1);
    gate.set(false);
    expect(gate.open).toBe(false);
    expect(wake).toHaveBeenCalledTimes(2);
  });

  it('closes at once when nobody is behind it', async () => {
    const { gate } = world();
    gate.set(true);
    await expect(gate.close(0)).resolves.toBe(true);
  });

  it('closes when the worker has stepped back, not before', async () => {
    const { gate, look } = world();
    look();
    gate.set(true);
    look();
    const closing = gate.close(5000);
    let closed = false;
    void closing.then(() => {
      closed = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect([closed, gate.settled]).toEqual([false, false]);
    look();
    await expect(closing).resolves.toBe(true);
  });

  it('says so when the worker does not step back in time, and that it went is as good', async () => {
    const { gate, look } = world();
    look();
    gate.set(true);
    look();
    await expect(gate.close(5)).resolves.toBe(false);
    gate.forget();
    expect(gate.settled).toBe(true);
  });

  it('counts on past the largest number', () => {
    const { gate, words } = world();
    words[GATE.wanted] = 0x7fff_ffff; // odd: open
    expect(gate.open).toBe(true);
    gate.set(false);
    expect(gate.open).toBe(false);
    gate.set(true);
    expect(gate.open).toBe(true);
  });
});
