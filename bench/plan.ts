/** From what the user asked for to what is run. */
import { type Asked, DEFAULTS, type NumberName, type Numbers, type Rival, UsageError } from "./options.ts";
import type { Scenario } from "./scenario.ts";

export const ALL = "all";

export interface Plan {
  scenario: Scenario;
  numbers: Numbers;
  against: readonly Rival[];
}

/** @throws UsageError for a scenario that there is not, or an option that the scenario does not take */
export function planOf({ scenario: name, numbers, against }: Asked, scenarios: readonly Scenario[]): Plan[] {
  const chosen = name === ALL ? scenarios : scenarios.filter((one) => one.name === name);
  if (chosen.length === 0) {
    throw new UsageError(
      `there is no scenario ${JSON.stringify(name)}; there are ${[...names(scenarios), ALL].join(", ")}`,
    );
  }
  const given = Object.keys(numbers) as NumberName[];
  if (name !== ALL) for (const one of chosen) refuseUnused(one, given, against);
  return chosen.map((scenario) => {
    const taken = Object.fromEntries(given.filter((key) => key in scenario.numbers).map((key) => [key, numbers[key]]));
    return {
      scenario,
      numbers: { ...DEFAULTS, ...scenario.numbers, ...taken },
      against: scenario.against ? (against ?? scenario.against) : [],
    };
  });
}

/** What would be passed over in silence is refused; with `all`, each scenario takes what it can. */
function refuseUnused(scenario: Scenario, given: readonly NumberName[], against: Asked["against"]): void {
  const taken = takenBy(scenario);
  const unused = [
    ...given.filter((key) => !(key in scenario.numbers)),
    ...(against && !scenario.against ? ["against"] : []),
  ];
  if (unused.length === 0) return;
  const dashed = (options: readonly string[]) => options.map((one) => `--${one}`).join(" ");
  throw new UsageError(`scenario ${scenario.name} does not take ${dashed(unused)}; it takes ${dashed(taken)}`);
}

/** The options that a scenario takes besides --nats and --json. */
export function takenBy(scenario: Scenario): string[] {
  return [...Object.keys(scenario.numbers), ...(scenario.against ? ["against"] : [])];
}

function names(scenarios: readonly Scenario[]): string[] {
  return scenarios.map(({ name }) => name);
}
