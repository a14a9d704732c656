import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { BUILT_IN_APPS, resolveApp } from '../../lib/engine/apps.ts';
import { LinecardError } from '../../lib/errors.ts';

let folder: string;
const before = process.cwd();
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'linecard-apps-'));
  writeFileSync(join(folder, 'app.mjs'), '');
  process.chdir(folder);
});
afterEach(() => {
  process.chdir(before);
  rmSync(folder, { recursive: true });
});

function refusal(module: string): LinecardError {
  try {
    resolveApp({ module });
  } catch (error) {
    expect(error).toBeInstanceOf(LinecardError);
    return error as LinecardError;
  }
  throw new Error('it was accepted');
}

it.each(BUILT_IN_APPS)('knows %s by its short name, exported under that name', (module) => {
  const app = resolveApp({ module });
  expect(app.module).toMatch(new RegExp(`/workers/apps/${module}\\.ts$`));
  expect(app).toMatchObject({ export: module, options: {} });
});

it('takes a path from the working directory, an absolute path, a URL and a URL as text', () => {
  const url = pathToFileURL(join(folder, 'app.mjs'));
  for (const module of ['./app.mjs', join(folder, 'app.mjs'), url, url.href]) {
    expect(resolveApp({ module })).toEqual({ module: url.href, export: 'default', options: {} });
  }
});

it('takes a path with characters that mean something in a URL', () => {
  writeFileSync(join(folder, 'a?b#c d.mjs'), '');
  expect(resolveApp({ module: './a?b#c d.mjs' }).module).toMatch(/\/a%3Fb%23c%20d\.mjs$/);
});

it('takes a package that can be found from the working directory', () => {
  mkdirSync(join(folder, 'node_modules', 'some-app'), { recursive: true });
  writeFileSync(join(folder, 'node_modules', 'some-app', 'index.js'), '');
  expect(resolveApp({ module: 'some-app' }).module).toMatch(/\/node_modules\/some-app\/index\.js$/);
});

it('takes the export and the options that are named, as a copy', () => {
  const options = { rate: 10, list: [1] };
  const app = resolveApp({ module: 'gen', export: 'other', options });
  expect(app).toMatchObject({ export: 'other', options });
  expect(app.options.list).not.toBe(options.list);
});

it.each(['./missing.mjs', '/nowhere/app.mjs'])('says that there is no file %s', (module) => {
  const error = refusal(module);
  expect(error).toMatchObject({ code: 'APP_MODULE_MISSING', detail: { module } });
  expect(error.message).toMatch(/there is no file .*; check the path; built in are l2fwd, gen, sink, ping, udp-echo$/);
});

it.each(['no-such-package', '', 'l2fw', 'https://example.org/app.mjs'])(
  'says that there is no package "%s"',
  (module) => {
    expect(refusal(module)).toMatchObject({ code: 'APP_MODULE_MISSING' });
  },
);

it('refuses options that cannot be sent to a worker', () => {
  const action = () => resolveApp({ module: 'gen', options: { filter: () => true } });
  expect(action).toThrow(expect.objectContaining({ code: 'BAD_APP_OPTION' }));
});
