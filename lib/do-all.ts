/** Giving several things back. Control half. */

/** Takes all `steps`, whatever becomes of the others, then throws the first error if there was one. */
export function doAll(steps: readonly (() => void)[]): void {
  const errors: unknown[] = [];
  for (const step of steps) {
    try {
      step();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}

/** Undoes what can be undone, after an error that counts more. */
export function doAllQuietly(steps: readonly (() => void)[]): void {
  try {
    doAll(steps);
  } catch {
    // The error that counts is the first.
  }
}
