/** What V8 compiles beside a thread, and that thread's end. */
import { setFlagsFromString } from 'node:v8';

/** Threads that end at the same moment are few. */
const ATTEMPTS = 100;

/**
 * Waits until nothing is compiled for this thread any more: the last thing that a thread does. Node.js 20 and 22 take an
 * ending thread off their platform before V8 has given up compiling for it, and abort the process when the compiler then
 * asks the platform for that thread ("Assertion failed: (data.first) != nullptr" in GetForegroundTaskRunner). A job with all
 * that it takes in is compiled for tenths of a second: time enough for that.
 */
export function awaitCompilation(): void {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    // V8 does this for its own tests only: the syntax is allowed for the length of a call. Not made beforehand, since V8
    // throws away the code of functions that are not called, and would read this one again when the syntax is not allowed.
    setFlagsFromString('--allow-natives-syntax');
    try {
      new Function('%WaitForBackgroundOptimization()')();
      return;
    } catch (error) {
      // The flag is the process's, and another thread that ends has just taken it back.
      if (!(error instanceof SyntaxError)) throw error;
    } finally {
      setFlagsFromString('--no-allow-natives-syntax');
    }
  }
}
