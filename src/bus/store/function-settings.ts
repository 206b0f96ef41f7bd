/**
 * The settings at functions (`job/settings.ts`) as they are stored: those set by hand, and those that workers have registered, with
 * who did it last.
 *
 * SETTINGS-1  What asks for what is stored already writes nothing: a worker may register the same a thousand times.
 */
import { isRecord } from "../../job/plain.ts";
import { isSameJson } from "../../job/same.ts";
import { type FunctionSettings, hasSettings, mergedSettings, settingsProblems } from "../../job/settings.ts";
import type { Bus } from "../connection.ts";
import type { JobStore } from "./job-store.ts";
import { type NamedValue, NamedValues, type Value } from "./named-values.ts";

const MAX_SET_FUNCTIONS = 1_000;
const PAGE = 500;

/** One of the two, and who stored it. */
export interface SettingsBy {
  settings: FunctionSettings;
  /** ms since 1970. */
  updated_at: number;
  by: string;
}

export interface StoredSettings {
  name: string;
  set?: SettingsBy;
  registered?: SettingsBy;
}

export class StoredFunctionSettings {
  readonly #values: NamedValues;

  constructor(bus: Bus, store: JobStore) {
    this.#values = new NamedValues(bus, store, { kind: "function", most: MAX_SET_FUNCTIONS, full: "settings_full" });
  }

  /** @throws AsyncError of the bus */
  async get(name: string): Promise<StoredSettings> {
    return storedIn(name, await this.#values.get(name));
  }

  /**
   * Stores what `decide` makes of what is there; nothing is left where neither has a field.
   *
   * @throws AsyncError `settings_full`, or as `NamedValues.change`
   */
  async change(
    name: string,
    decide: (found: StoredSettings) => StoredSettings,
  ): Promise<{ stored: StoredSettings; before: StoredSettings; changed: boolean }> {
    let before: StoredSettings = { name };
    let stored: StoredSettings = { name };
    const { changed } = await this.#values.change(name, (value) => {
      before = storedIn(name, value);
      stored = sound(decide(before));
      if (isSameSettings(before, stored)) {
        stored = before;
        return undefined; // SETTINGS-1
      }
      return stored.set || stored.registered ? (stored as unknown as Value) : null;
    });
    return { stored, before, changed };
  }

  /** All that there are. @throws AsyncError of the bus */
  async all(): Promise<StoredSettings[]> {
    const all: StoredSettings[] = [];
    for (let from: number | undefined = 1; from !== undefined; ) {
      const page: Awaited<ReturnType<NamedValues["page"]>> = await this.#values.page(from, PAGE);
      for (const value of page.values) {
        const { name } = value.value;
        if (typeof name === "string") all.push(storedIn(name, value));
      }
      from = page.next;
    }
    return all;
  }
}

/** What counts of them. Undefined if there is nothing. */
export function settingsIn({ set, registered }: StoredSettings): FunctionSettings | undefined {
  const settings = mergedSettings(set?.settings, registered?.settings);
  return hasSettings(settings) ? settings : undefined;
}

function isSameSettings(a: StoredSettings, b: StoredSettings): boolean {
  return isSameJson(a.set?.settings, b.set?.settings) && isSameJson(a.registered?.settings, b.registered?.settings);
}

function sound({ name, set, registered }: StoredSettings): StoredSettings {
  return {
    name,
    ...(set && hasSettings(set.settings) && { set }),
    ...(registered && hasSettings(registered.settings) && { registered }),
  };
}

/** Anything may be stored there: what makes no sense is not there. */
function storedIn(name: string, found: NamedValue | undefined): StoredSettings {
  return sound({ name, ...part("set", found?.value.set), ...part("registered", found?.value.registered) });
}

function part(kind: "set" | "registered", value: unknown): Partial<StoredSettings> {
  if (!isRecord(value) || settingsProblems(value.settings).length > 0) return {};
  const { settings, updated_at, by } = value;
  const at = typeof updated_at === "number" && Number.isFinite(updated_at) ? updated_at : 0;
  return { [kind]: { settings, updated_at: at, by: String(by ?? "") } };
}
