export interface Rule {
  readonly section: string;
  readonly why?: string;
}
export const LISTS: readonly { readonly title: string; readonly rules: Readonly<Record<string, Rule>> }[];
export const ELSEWHERE: Readonly<Record<string, string>>;
export function idsOf(title: string): string[];
export const FOLDERS: readonly string[];
