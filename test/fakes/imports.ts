/** What modules import, by TypeScript's own parser. */
import { readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

/** One import. */
export interface Import {
  readonly from: string;
  /** Path from the root of the repository, or what was written when that is a package or a part of Node. */
  readonly to: string;
  /** False when it is gone after compilation. */
  readonly value: boolean;
  /** What is imported by name. */
  readonly names: readonly string[];
}

/** A module: its imports, and the first words of what it does when it is loaded, besides declaring. */
export interface Module {
  readonly path: string;
  readonly imports: readonly Import[];
  readonly effects: readonly string[];
}

const root = fileURLToPath(new URL('../..', import.meta.url));

/** All TypeScript modules under `folders`, parsed. */
export function readModules(...folders: readonly string[]): Module[] {
  return folders.flatMap((folder) =>
    readdirSync(`${root}${folder}`, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => posix.join(folder, name))
      .sort()
      .map((path) => parseModule(path, readFileSync(`${root}${path}`, 'utf8'))),
  );
}

/** Parses the module `text` that stands at `path`. */
export function parseModule(path: string, text: string): Module {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const imports: Import[] = [];
  const resolve = (name: string) => (name.startsWith('.') ? posix.join(posix.dirname(path), name) : name);
  const add = (to: ts.Expression, value: boolean, names: readonly string[]) => {
    if (ts.isStringLiteralLike(to)) imports.push({ from: path, to: resolve(to.text), value, names });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, node.importClause?.isTypeOnly !== true, namesOf(node));
    else if (ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined) {
      add(node.moduleSpecifier, !node.isTypeOnly, []);
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      add(node.argument.literal as ts.Expression, false, []);
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [to] = node.arguments;
      if (to !== undefined) add(to, true, []);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  const effects = source.statements.filter((statement) => !declares(statement)).map((s) => s.getText().slice(0, 60));
  return { path, imports, effects };
}

/** Names that an import brings as values. */
function namesOf({ importClause }: ts.ImportDeclaration): string[] {
  const bindings = importClause?.namedBindings;
  if (bindings === undefined) return importClause?.name === undefined ? [] : ['default'];
  if (ts.isNamespaceImport(bindings)) return ['*'];
  return bindings.elements.filter((e) => !e.isTypeOnly).map((e) => (e.propertyName ?? e.name).text);
}

/** True for statements that only declare something, import or export. */
function declares(statement: ts.Statement): boolean {
  return (
    ts.isImportDeclaration(statement) ||
    ts.isExportDeclaration(statement) ||
    ts.isFunctionDeclaration(statement) ||
    ts.isClassDeclaration(statement) ||
    ts.isInterfaceDeclaration(statement) ||
    ts.isTypeAliasDeclaration(statement) ||
    (ts.isVariableStatement(statement) && (statement.declarationList.flags & ts.NodeFlags.Const) !== 0)
  );
}

/** What `start` imports by value, and what that imports, itself included. */
export function closure(modules: readonly Module[], start: string): string[] {
  const byPath = new Map(modules.map((module) => [module.path, module]));
  const seen = new Set([start]);
  for (const path of seen) {
    for (const { to, value } of byPath.get(path)?.imports ?? []) if (value && byPath.has(to)) seen.add(to);
  }
  return [...seen];
}

/** A way from a module back to itself by value imports, or undefined. */
export function findCycle(modules: readonly Module[]): string[] | undefined {
  for (const { path } of modules) {
    const way = wayBack(modules, path);
    if (way !== undefined) return way;
  }
  return undefined;
}

function wayBack(modules: readonly Module[], start: string): string[] | undefined {
  const byPath = new Map(modules.map((module) => [module.path, module]));
  const cameFrom = new Map<string, string>();
  const queue = [start];
  for (const path of queue) {
    for (const { to, value } of byPath.get(path)?.imports ?? []) {
      if (!value || cameFrom.has(to)) continue;
      cameFrom.set(to, path);
      queue.push(to);
      if (to !== start) continue;
      const way = [start];
      for (let at = path; at !== start; at = cameFrom.get(at) as string) way.unshift(at);
      return [start, ...way];
    }
  }
  return undefined;
}
