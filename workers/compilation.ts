/** What V8 compiles beside a thread, and that thread's end. */
import { setFlagsFromString } from 'node:v8';

/**
 * Makes the function that waits until nothing is compiled for this thread any more; to be called as the last thing that
 * the thread does. Node.js 20 and 22 take an ending thread off their platform before V8 has given up compiling for it, and
 * abort the process when the compiler then asks the platform for that thread ("Assertion failed: (data.first) != nullptr"
 * in GetForegroundTaskRunner). A job with all that it takes in is compiled for tenths of a second: time enough for that.
 */
export function compilationEnd(): () => void {
  // V8 does this for its own tests only: the syntax is allowed for the length of one line.
  setFlagsFromString('--allow-natives-syntax');
  try {
    return new Function('%WaitForBackgroundOptimization()') as () => void;
  } finally {
    setFlagsFromString('--no-allow-natives-syntax');
  }
}
