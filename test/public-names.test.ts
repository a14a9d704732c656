/** What a user's editor shows: every public name, and every public function of one, says what it is. */
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const ENTRIES = ['lib/index.ts', 'lib/driver.ts', 'lib/driver-queue.ts', 'lib/queue.ts'];

/** Compiles `files` for their types, with the package's own settings. */
function compile(files: readonly string[]): ts.Program {
  const { config } = ts.readConfigFile(`${root}tsconfig.json`, ts.sys.readFile) as { config: object };
  return ts.createProgram(files, ts.parseJsonConfigFileContent(config, ts.sys, root).options);
}

const hidden = (member: ts.ClassElement | ts.TypeElement): boolean =>
  (ts.getCombinedModifierFlags(member) & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected)) !== 0 ||
  member.name === undefined ||
  ts.isPrivateIdentifier(member.name);

const isFunction = (member: ts.ClassElement | ts.TypeElement): boolean =>
  ts.isMethodDeclaration(member) || ts.isMethodSignature(member);

/** Public names without a word, and functions of public classes and interfaces without one, as `Name.member`. */
function undocumented(program: ts.Program, entry: string): { names: number; missing: string[] } {
  const checker = program.getTypeChecker();
  const says = (symbol: ts.Symbol) => ts.displayPartsToString(symbol.getDocumentationComment(checker)).trim() !== '';
  const source = checker.getSymbolAtLocation(program.getSourceFile(`${root}${entry}`) as ts.SourceFile) as ts.Symbol;
  const symbols = checker
    .getExportsOfModule(source)
    .map((symbol) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol));
  const missing = symbols.flatMap((symbol) => {
    const members = (symbol.declarations ?? [])
      .flatMap((d) => (ts.isClassDeclaration(d) || ts.isInterfaceDeclaration(d) ? [...d.members] : []))
      .filter((member) => isFunction(member) && !hidden(member))
      .map((member) => checker.getSymbolAtLocation(member.name as ts.Node) as ts.Symbol)
      .filter((member) => !says(member))
      .map((member) => `${symbol.name}.${member.name}`);
    return says(symbol) ? members : [symbol.name, ...members];
  });
  return { names: symbols.length, missing };
}

describe('every public name says what it is', { timeout: 60_000 }, () => {
  const program = compile(ENTRIES.map((entry) => `${root}${entry}`));

  it.each(ENTRIES)('%s', (entry) => {
    const { names, missing } = undocumented(program, entry);
    expect(missing).toEqual([]);
    expect(names).toBeGreaterThan(10);
  });
});
