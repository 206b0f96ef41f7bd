/** How far a run is, on standard error: a bar on a terminal, else a line now and then. */
const WIDTH = 30;
const REDRAW_MS = 100;
const LINE_EVERY_MS = 10_000;

export interface ProgressStream {
  isTTY?: boolean;
  write(text: string): unknown;
}

export class Progress {
  readonly #stream: ProgressStream;
  readonly #now: () => number;
  #shownAt: number;
  #drawn = false;

  constructor(stream: ProgressStream = process.stderr, now: () => number = () => performance.now()) {
    this.#stream = stream;
    this.#now = now;
    // What is done before the first line would come needs none.
    this.#shownAt = stream.isTTY ? Number.NEGATIVE_INFINITY : now();
  }

  show(label: string, done: number, total: number): void {
    const now = this.#now();
    if (now - this.#shownAt < (this.#stream.isTTY ? REDRAW_MS : LINE_EVERY_MS)) return;
    this.#shownAt = now;
    const share = total > 0 ? Math.min(1, done / total) : 0;
    const percent = `${Math.floor(share * 100)} %`;
    if (!this.#stream.isTTY) {
      this.#stream.write(`${label}: ${percent}\n`);
      return;
    }
    const bar = "#".repeat(Math.round(share * WIDTH)).padEnd(WIDTH, ".");
    this.#stream.write(`\r\x1b[K[${bar}] ${percent.padStart(5)} ${label}`);
    this.#drawn = true;
  }

  /** Takes the bar away, so that something else can be written. */
  clear(): void {
    if (this.#drawn) this.#stream.write("\r\x1b[K");
    this.#drawn = false;
  }
}
