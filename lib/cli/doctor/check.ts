/** What the doctor says about one thing. */

/** One line. */
export interface Check {
  /** Stable, for programs: `hugepages-2M`. */
  readonly name: string;
  readonly ok: boolean;
  /** Without it linecard does not work at all. */
  readonly required: boolean;
  /** What there is. */
  readonly found: string;
  /** What it is good for. */
  readonly purpose: string;
  /** The command that mends it; undefined when there is nothing to mend. */
  readonly fix?: string;
}

/** What was looked at. */
export interface Finding {
  readonly ok: boolean;
  readonly found: string;
  readonly fix: string;
}

/** A check of something that linecard cannot do without. */
export const required = (name: string, purpose: string, finding: Finding): Check => make(name, purpose, true, finding);

/** A check of something that only some ports, or the best speed, need. */
export const optional = (name: string, purpose: string, finding: Finding): Check => make(name, purpose, false, finding);

function make(name: string, purpose: string, isRequired: boolean, { ok, found, fix }: Finding): Check {
  return { name, ok, required: isRequired, found, purpose, ...(ok ? {} : { fix }) };
}
