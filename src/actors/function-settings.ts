/**
 * The settings at functions, as a supervisor needs them: in memory, and kept as they are stored. They are read before the supervisor
 * takes a job, so that none fails which would have been tried again.
 *
 * SETTINGS-2  Where no function has settings, asking costs one look at a boolean.
 * SETTINGS-3  A change is told to all supervisors (`job.ctl.settings`), which read it then. As that may get lost, all is read again after a
 *     reconnect, and each `RELOAD_MS`.
 */
import { SETTINGS } from "../api/subjects.ts";
import type { Bus } from "../bus/connection.ts";
import { encodeQueued, readQueued } from "../bus/messages/nudges.ts";
import { type StoredFunctionSettings, type StoredSettings, settingsIn } from "../bus/store/function-settings.ts";
import type { Listening } from "../bus/wire/steady-subscription.ts";
import type { FunctionSettings as Settings } from "../job/settings.ts";

const RELOAD_MS = 60_000;
const RETRY_MS = 500;
/** What was heard of so recently is not taken back by a list, which may come from a replica that lags behind. */
const FRESH_MS = 5_000;
const MAX_FRESH = 2_000;
/** So many changes are read one by one at a time; what is beyond is found when all is read again. */
const MAX_READS = 100;

/** Who needs to know what is set at a function. */
export interface SettingsOf {
  of(functionName: string): Settings | undefined;
}

export interface FunctionSettingsOptions {
  onLoaded: () => void;
  onTrouble: (error: unknown) => void;
}

export class FunctionSettings implements SettingsOf {
  readonly #bus: Bus;
  readonly #stored: StoredFunctionSettings;
  readonly #options: FunctionSettingsOptions;
  #byName = new Map<string, Settings>();
  /** When one was read by itself, monotonic ms. */
  readonly #readAt = new Map<string, number>();
  #any = false;
  #loaded = false;
  #closed = false;
  #loading = false;
  #again = false;
  #reads = 0;
  #retry: NodeJS.Timeout | undefined;
  readonly #timer: NodeJS.Timeout;
  readonly #listening: Listening;
  readonly #stop: () => void;

  constructor(bus: Bus, stored: StoredFunctionSettings, options: FunctionSettingsOptions) {
    this.#bus = bus;
    this.#stored = stored;
    this.#options = options;
    this.#listening = bus.subscribe(SETTINGS, ({ data }) => {
      const name = readQueued(data);
      if (name !== undefined) void this.#read(name);
    });
    this.#stop = bus.onReconnected(() => this.#load());
    this.#timer = setInterval(() => this.#load(), RELOAD_MS);
    this.#load();
  }

  /** Whether they have been read: before that nothing may be decided by them. */
  get loaded(): boolean {
    return this.#loaded;
  }

  of(functionName: string): Settings | undefined {
    return this.#any ? this.#byName.get(functionName) : undefined; // SETTINGS-2
  }

  /** What has just been stored here; the other supervisors are told. */
  changed(stored: StoredSettings): void {
    this.#keep(stored);
    if (this.#bus.connected) this.#bus.nc.publish(SETTINGS, encodeQueued(stored.name));
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    clearTimeout(this.#retry);
    this.#listening.unsubscribe();
    this.#stop();
  }

  #keep(stored: StoredSettings): void {
    const settings = settingsIn(stored);
    if (settings) this.#byName.set(stored.name, settings);
    else this.#byName.delete(stored.name);
    this.#any = this.#byName.size > 0;
    if (this.#readAt.size >= MAX_FRESH) this.#readAt.clear();
    this.#readAt.set(stored.name, performance.now());
  }

  async #read(name: string): Promise<void> {
    if (this.#reads >= MAX_READS) return;
    this.#reads += 1;
    try {
      const stored = await this.#stored.get(name);
      if (!this.#closed) this.#keep(stored);
    } catch (error) {
      this.#loadSoon(error);
    } finally {
      this.#reads -= 1;
    }
  }

  /** One at a time. */
  #load(): void {
    if (this.#closed) return;
    if (this.#loading) {
      this.#again = true;
      return;
    }
    this.#loading = true;
    this.#again = false;
    clearTimeout(this.#retry);
    void this.#loadAll().finally(() => {
      this.#loading = false;
      if (this.#again) this.#load();
    });
  }

  async #loadAll(): Promise<void> {
    try {
      const all = await this.#stored.all();
      if (this.#closed) return;
      this.#take(all);
      if (this.#loaded) return;
      this.#loaded = true;
      this.#options.onLoaded();
    } catch (error) {
      this.#loadSoon(error);
    }
  }

  #take(all: StoredSettings[]): void {
    const now = performance.now();
    const before = this.#byName;
    this.#byName = new Map();
    for (const stored of all) {
      const settings = settingsIn(stored);
      if (settings) this.#byName.set(stored.name, settings);
    }
    for (const [name, at] of this.#readAt) {
      if (now - at > FRESH_MS) {
        this.#readAt.delete(name);
        continue;
      }
      const settings = before.get(name);
      if (settings) this.#byName.set(name, settings);
      else this.#byName.delete(name);
    }
    this.#any = this.#byName.size > 0;
  }

  #loadSoon(error: unknown): void {
    if (this.#closed) return;
    this.#options.onTrouble(error);
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#load(), RETRY_MS);
  }
}
