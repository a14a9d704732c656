/** Numbers and tables as people read them. Pure. */

/** Digits in groups of three: `1,234,567`. */
export function count(n: bigint | number): string {
  return String(n).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** As `count`, but never more than 13 characters: from ten thousand million on in millions, then in thousand millions. */
export function shortCount(n: bigint): string {
  if (n < 10n ** 10n) return count(n);
  return n < 10n ** 14n ? `${count(n / 10n ** 6n)} M` : `${count(n / 10n ** 9n)} G`;
}

/** Packets per second, in the unit that leaves two to four digits: `1.23 Mpps`, `12.3 kpps`, `123 pps`. */
export function packetRate(pps: number): string {
  if (pps >= 99_950) return `${(pps / 1e6).toFixed(2)} Mpps`;
  if (pps >= 999.5) return `${(pps / 1e3).toFixed(1)} kpps`;
  return `${Math.round(pps)} pps`;
}

/** A share from 0 to 1: `97 %`. */
export const percent = (share: number): string => `${Math.round(share * 100)} %`;

/** Bytes in the largest binary unit that divides them well: `8 MiB`, `23.4 GiB`. */
export function byteCount(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit]}`;
}

/** `1 packet`, `2 packets`. */
export const plural = (n: bigint | number, word: string): string =>
  `${count(n)} ${word}${n === 1 || n === 1n ? '' : 's'}`;

/** Cuts `text` in its middle to `width` columns: of a path, the beginning and the file's name say most. */
export function fit(text: string, width: number): string {
  if (text.length <= width) return text;
  if (width < 1) return '';
  const tail = Math.floor((width - 1) / 2);
  return `${text.slice(0, width - 1 - tail)}…${tail === 0 ? '' : text.slice(-tail)}`;
}

/** Breaks a line at spaces where it is longer than `width`; what follows is indented. */
export function wrap(line: string, width: number): string[] {
  const lines: string[] = [];
  let rest = line;
  let indent = '';
  while (indent.length + rest.length >= width) {
    const space = rest.lastIndexOf(' ', width - 1 - indent.length);
    if (space <= 0) break;
    lines.push(indent + rest.slice(0, space));
    rest = rest.slice(space + 1);
    indent = '  ';
  }
  return [...lines, indent + rest];
}

/** A column of a table. */
export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
  /** Least width: what changes from line to line must not move the columns. */
  readonly width?: number;
  /** Longer cells are cut in their middle. */
  readonly most?: number;
}

/** Lines of a table: the titles, then the rows. Columns are as wide as they need. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[]): string[] {
  const cut = rows.map((row) => row.map((cell, i) => fit(cell, columns[i]?.most ?? Number.POSITIVE_INFINITY)));
  const widths = columns.map(({ title, width = 0 }, i) =>
    Math.max(width, title.length, ...cut.map((row) => row[i]?.length ?? 0)),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => (columns[i]?.align === 'right' ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))
      .join('  ')
      .trimEnd();
  return [line(columns.map(({ title }) => title)), ...cut.map(line)];
}
