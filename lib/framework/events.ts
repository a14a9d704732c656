/** Who listens, and how an event reaches them. */
import type { Device, FrameworkEvent } from './types.ts';

/** Is told what happens in a framework, in order, with the identity of the object. Called synchronously. */
export type FrameworkListener = (event: FrameworkEvent) => void;

/** Returns `thrown` as an Error, whatever it was. */
export function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

/** The listeners of one framework. */
export class Events {
  readonly #listeners = new Set<{ readonly listener: FrameworkListener }>();

  /** Adds a listener; the same function twice is two listeners. The returned function removes it, at once and for good. */
  on(listener: FrameworkListener): () => void {
    const entry = { listener };
    this.#listeners.add(entry);
    return () => void this.#listeners.delete(entry);
  }

  emit(event: FrameworkEvent): void {
    this.#deliver(event, (error) => {
      // What a listener throws goes to all, once: what they throw about that would go round for ever.
      this.#deliver({ type: 'error', source: 'listener', error: toError(error) }, () => {});
    });
  }

  /** Reports an exception of foreign code. */
  error(source: string, thrown: unknown, device?: Device): void {
    const error = toError(thrown);
    this.emit(device === undefined ? { type: 'error', source, error } : { type: 'error', source, error, device });
  }

  #deliver(event: FrameworkEvent, failed: (error: unknown) => void): void {
    for (const entry of [...this.#listeners]) {
      if (!this.#listeners.has(entry)) continue; // unsubscribed by a listener before it
      try {
        // An async function is a listener to the type checker too: its rejection must not end the process.
        const result: unknown = entry.listener(event);
        if (result instanceof Promise) result.catch(failed);
      } catch (error) {
        failed(error);
      }
    }
  }
}
