export interface Rule {
  readonly section: string;
  readonly why?: string;
}
export const LISTS: readonly { readonly title: string; readonly rules: Readonly<Record<string, Rule>> }[];
export function idsOf(title: string): string[];
export const FOLDERS: readonly string[];
