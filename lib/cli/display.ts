/** Shows a run: drawn again in place on a screen, lines elsewhere, JSON for programs. */
import { errorData, errorText } from './failure.ts';
import type { Figures } from './figures.ts';
import { toJson } from './json.ts';
import { eventsJson, type Happening, periodJson } from './period.ts';
import type { Note } from './ports.ts';
import { logLines, screen } from './screen.ts';
import { type Outcome, summaryJson, summaryLines } from './summary.ts';
import type { Terminal } from './terminal.ts';
import { wrap } from './text.ts';

/** A display. All methods write at once. */
export interface Display {
  /** What is going to happen, before it does. */
  intro(lines: readonly string[]): void;
  /** What whoever runs it should know, once the ports have been started. */
  notes(notes: readonly Note[]): void;
  period(figures: Figures): void;
  /** Something went wrong, or right again; `error` is why. */
  happened(event: string, subject: string | number, text: string, error?: Error): void;
  summary(outcome: Outcome): void;
}

/** Chooses the display that fits. `title` is the command's name. */
export function makeDisplay(terminal: Terminal, title: string, json: boolean): Display {
  if (json) return new JsonDisplay(terminal);
  return terminal.interactive ? new ScreenDisplay(terminal, title) : new LogDisplay(terminal);
}

/** One JSON object per period on a line of its own, the last one the summary. */
class JsonDisplay implements Display {
  private readonly terminal: Terminal;
  private events: Happening[] = [];

  constructor(terminal: Terminal) {
    this.terminal = terminal;
  }

  intro(): void {}

  notes(notes: readonly Note[]): void {
    for (const { port, text } of notes) this.events.push({ event: 'note', subject: port, text });
  }

  period(figures: Figures): void {
    this.terminal.out(`${toJson(periodJson(figures, this.events.splice(0)))}\n`);
  }

  happened(event: string, subject: string | number, _text: string, error?: Error): void {
    if (error === undefined) this.events.push({ event, subject });
    else {
      const { code, message } = errorData(error);
      this.events.push({ event, subject, error: { code, message } });
    }
  }

  summary(outcome: Outcome): void {
    this.terminal.out(`${toJson({ ...summaryJson(outcome), events: eventsJson(this.events.splice(0)) })}\n`);
  }
}

/** Plain lines, for files, pipes and terminals that cannot draw. */
class LogDisplay implements Display {
  protected readonly terminal: Terminal;

  constructor(terminal: Terminal) {
    this.terminal = terminal;
  }

  intro(lines: readonly string[]): void {
    if (lines.length > 0) this.terminal.out(`${this.wrapped(lines)}\n\n`);
  }

  notes(notes: readonly Note[]): void {
    this.intro(notes.map(({ text }) => text));
  }

  private wrapped(lines: readonly string[]): string {
    const { columns } = this.terminal.size();
    return lines.flatMap((line) => wrap(line, columns)).join('\n');
  }

  period(figures: Figures): void {
    this.terminal.out(`${logLines(figures).join('\n')}\n`);
  }

  happened(_event: string, _subject: string | number, text: string, error?: Error): void {
    if (error !== undefined) this.terminal.err(`${errorText(error, this.terminal.env)}\n`);
    if (text !== '') this.terminal.err(`linecard: ${text}\n`);
  }

  summary(outcome: Outcome): void {
    const lines = summaryLines(outcome).map((line) => this.emphasize(line));
    this.terminal.out(`${lines.join('\n')}\n`);
  }

  /** Headings and verdicts stand out. */
  protected emphasize(line: string): string {
    const { terminal } = this;
    if (/^(Ledger: NOT|WRONG)/.test(line)) return terminal.style('red', line);
    if (/^(Ledger: balanced|every packet)/.test(line)) return terminal.style('green', line);
    if (/^ +dropped:/.test(line)) return terminal.style('yellow', line);
    return / =+$/.test(line) ? terminal.style('bold', line) : line;
  }
}

/** Draws the same block again and again, below whatever was on the screen before. */
class ScreenDisplay extends LogDisplay {
  private readonly title: string;
  /** Lines of the block that stand above the cursor. */
  private drawn = 0;
  private lines: readonly string[] = [];

  constructor(terminal: Terminal, title: string) {
    super(terminal);
    this.title = title;
  }

  override period(figures: Figures): void {
    const time = `linecard ${this.title}, ${figures.seconds.toFixed(0)} s (Ctrl-C ends)`;
    this.draw([time, '', ...screen(figures)]);
  }

  override happened(event: string, subject: string | number, text: string, error?: Error): void {
    const { lines } = this;
    this.draw([]);
    super.happened(event, subject, text, error);
    this.draw(lines);
  }

  override summary(outcome: Outcome): void {
    this.draw([]);
    super.summary(outcome);
  }

  private draw(lines: readonly string[]): void {
    const { columns, rows } = this.terminal.size();
    // A line that wraps or scrolls could not be found again.
    const most = rows - 1;
    const visible =
      lines.length <= most ? lines : [...lines.slice(0, most - 1), `… ${lines.length - most + 1} more lines`];
    const text = visible.map((line) => `${this.emphasize(line.slice(0, columns - 1))}\n`).join('');
    // Up to the block's first line, and clear from there to the end of the screen.
    const up = this.drawn === 0 ? '' : `\x1b[${this.drawn}A`;
    this.terminal.out(`${up}\r\x1b[J${text}`);
    this.drawn = visible.length;
    this.lines = lines;
  }
}
