/** Where the package is, from the sources as from `dist/`. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Returns the package's own directory. */
export function packageRoot(): string {
  let directory = new URL('../', import.meta.url);
  while (!existsSync(new URL('package.json', directory)) && directory.pathname !== '/') {
    directory = new URL('../', directory);
  }
  return fileURLToPath(directory);
}
