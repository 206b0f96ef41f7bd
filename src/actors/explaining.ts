/**
 * Answers to `job.explain.<id>`: why a job waits. Any supervisor can answer for any job: it reads the state, and asks all
 * supervisors and workers about the functions that are due, if there are any.
 *
 * EXPLAINING-1  Each answer may be a question to everybody, so there are `MAX_ANSWERS` at a time. Who comes beyond that is
 *     refused, and our client asks again.
 */
import { answerOf } from "../job/answer.ts";
import { AsyncError, isAsyncError } from "../job/errors.ts";
import { childrenToAsk, explain, functionsToAsk, itemsToAsk } from "../job/explain.ts";
import type { OpenItems } from "../job/explanation.ts";
import type { StateName } from "../job/state.ts";
import { Limiter } from "../util/limiter.ts";
import type { Depths } from "./depths.ts";
import type { SettingsOf } from "./function-settings.ts";
import type { JobControl } from "./job-control.ts";

const MAX_ANSWERS = 8;

export class Explaining {
  readonly #control: Pick<JobControl, "look" | "items">;
  readonly #depths: Pick<Depths, "of">;
  readonly #settings: SettingsOf;
  readonly #answers = new Limiter(() => MAX_ANSWERS);

  constructor(control: Pick<JobControl, "look" | "items">, depths: Pick<Depths, "of">, settings: SettingsOf) {
    this.#control = control;
    this.#depths = depths;
    this.#settings = settings;
  }

  /**
   * The answer as JSON (`Explanation`).
   *
   * @throws AsyncError what `JobControl.look` throws, `bus_overloaded`, or what the bus throws
   */
  async answer(jobId: string): Promise<string> {
    const why = `this supervisor explains ${MAX_ANSWERS} jobs already; try again`;
    return this.#answers.runNow(
      () => this.#answer(jobId),
      () => new AsyncError("bus_overloaded", why),
    );
  }

  async #answer(jobId: string): Promise<string> {
    const { state, isTaken } = await this.#control.look(jobId);
    const names = functionsToAsk(state, Date.now(), isTaken);
    const facts = names.length === 0 ? undefined : await this.#depths.of(names);
    const states = await this.#statesOf(childrenToAsk(state, Date.now(), isTaken));
    const open = new Map<number, OpenItems>();
    for (const index of itemsToAsk(state, Date.now(), isTaken)) {
      open.set(index, await this.#control.items.open(state, index, Date.now()));
    }
    const factsOf = (name: string) => facts?.get(name);
    const stateOf = (childId: string) => states.get(childId);
    const openOf = (index: number) => open.get(index);
    return JSON.stringify(explain(state, factsOf, Date.now(), undefined, isTaken, this.#settings, stateOf, openOf));
  }

  /** Of children, as they are shown. What cannot be asked just now is left out: it is an addition. */
  async #statesOf(childIds: readonly string[]): Promise<Map<string, StateName>> {
    const states = new Map<string, StateName>();
    const ask = async (childId: string) => {
      try {
        const { state, isTaken } = await this.#control.look(childId);
        states.set(childId, answerOf(state, Date.now(), isTaken).state);
      } catch (error) {
        if (!isAsyncError(error)) throw error;
      }
    };
    await Promise.all(childIds.map(ask));
    return states;
  }
}
