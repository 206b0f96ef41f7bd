/**
 * Tells when files change. It looks at each of them four times a second: that is right where files are replaced, folders come
 * and go or belong to another system, and cheap for as many as a project imports.
 *
 * WATCH-FILES-1  A change is told once it has settled: two looks in a row have found the same, of all files. What never settles is
 *     told after `MAX_UNSETTLED_LOOKS`.
 * WATCH-FILES-2  What changed between the moment a process was started and the moment its files were named is a change too.
 */
import { stat } from "node:fs/promises";
import { dirname } from "node:path";

const LOOK_MS = 250;
const MAX_UNSETTLED_LOOKS = 8;
/** More than a project has; each costs some 20 µs a look. */
const MAX_FILES = 5_000;
/** The clock of file systems goes in steps, and may be behind by one. */
const CLOCK_STEP_MS = 20;
const GONE = "gone";

export interface Changes {
  /** Of those that were named. */
  files: string[];
  /** Folders in which files have been made or removed. */
  folders: string[];
}

export class FileWatch {
  readonly #onChange: (changes: Changes) => void;
  /** What was found at the last look that counted, by path; undefined before the first. */
  readonly #files = new Map<string, string | undefined>();
  readonly #folders = new Map<string, string | undefined>();
  #unsettled: string | undefined;
  #unsettledLooks = 0;
  #startedAt = Date.now();
  #timer: NodeJS.Timeout;
  #closed = false;

  constructor(onChange: (changes: Changes) => void) {
    this.#onChange = onChange;
    this.#timer = setTimeout(() => void this.#look(), LOOK_MS);
  }

  /** What is added from now on is loaded by a process that starts now. */
  processStarts(): void {
    this.#startedAt = Date.now();
  }

  add(paths: Iterable<string>): void {
    for (const path of paths) {
      if (this.#files.has(path) || this.#files.size >= MAX_FILES) continue;
      this.#files.set(path, undefined);
      const folder = dirname(path);
      if (!this.#folders.has(folder)) this.#folders.set(folder, undefined);
    }
  }

  /** Looks no more at what is not among `paths`. */
  keepOnly(paths: ReadonlySet<string>): void {
    for (const path of this.#files.keys()) if (!paths.has(path)) this.#files.delete(path);
    const folders = new Set([...this.#files.keys()].map(dirname));
    for (const folder of this.#folders.keys()) if (!folders.has(folder)) this.#folders.delete(folder);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async #look(): Promise<void> {
    const [files, folders] = await Promise.all([changed(this.#files, this.#startedAt), changed(this.#folders)]);
    if (this.#closed) return;
    this.#timer = setTimeout(() => void this.#look(), LOOK_MS);
    if (files.size === 0 && folders.size === 0) {
      this.#unsettledLooks = 0;
      return;
    }
    const found = JSON.stringify([...files, ...folders]);
    const settled = found === this.#unsettled;
    this.#unsettled = found;
    this.#unsettledLooks += 1;
    if (!settled && this.#unsettledLooks < MAX_UNSETTLED_LOOKS) return;
    this.#unsettledLooks = 0;
    for (const [path, signature] of files) if (this.#files.has(path)) this.#files.set(path, signature);
    for (const [path, signature] of folders) if (this.#folders.has(path)) this.#folders.set(path, signature);
    this.#onChange({ files: [...files.keys()], folders: [...folders.keys()] });
  }
}

/** What is not as it was, and as what. What is seen for the first time is noted, unless it is younger than `since`. */
async function changed(known: Map<string, string | undefined>, since = Number.POSITIVE_INFINITY) {
  const found = new Map<string, string>();
  await Promise.all(
    [...known].map(async ([path, before]) => {
      const { signature, changedAt } = await look(path);
      if (!known.has(path)) return;
      const isNew = before === undefined;
      const young = changedAt >= since - CLOCK_STEP_MS && changedAt <= Date.now() + CLOCK_STEP_MS;
      if (isNew && !young) known.set(path, signature);
      else if (signature !== before) found.set(path, signature);
    }),
  );
  return found;
}

async function look(path: string): Promise<{ signature: string; changedAt: number }> {
  try {
    const { mtimeMs, size, ino } = await stat(path);
    return { signature: `${mtimeMs} ${size} ${ino}`, changedAt: mtimeMs };
  } catch {
    return { signature: GONE, changedAt: 0 }; // that it cannot be looked at is what is found
  }
}
