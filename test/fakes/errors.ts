/** What a call throws. */
import { LinecardError } from '../../lib/errors.ts';

/** The LinecardError that `call` throws; any other outcome is an error of the test. */
export function thrown(call: () => unknown): LinecardError {
  try {
    call();
  } catch (error) {
    if (error instanceof LinecardError) return error;
    throw error;
  }
  throw new Error('it did not throw');
}

/** The code of the LinecardError that `call` throws. */
export const codeOf = (call: () => unknown): string => thrown(call).code;
