/** What the command says when it is asked nothing, or something wrong. */
import { LIMITS, type NumberName, RIVALS } from "./options.ts";
import { ALL } from "./plan.ts";
import { SCALE } from "./scale/options.ts";
import type { Scenario } from "./scenario.ts";

const WIDTH = 16;

export function usage(scenarios: readonly Scenario[]): string {
  const line = (name: string, what: string) => `  ${name.padEnd(WIDTH)}${what}`;
  const limits = (Object.keys(LIMITS) as NumberName[]).map((name) => {
    const { minimum, maximum, what } = LIMITS[name];
    return line(`--${name} n`, `${what}; ${minimum} to ${maximum}`);
  });
  return [
    "usage: npm run bench -- <scenario> [options]",
    "",
    ...scenarios.map(({ name, description }) => line(name, description)),
    line(ALL, "all of them, in this order"),
    line(SCALE, "how the cost of jobs grows, with options of its own: [--dimension name] [--quick] [--out folder]"),
    "",
    ...limits,
    line("--against list", `what async is measured against: some of ${RIVALS.join(",")}`),
    line("--nats url", "a server of your own instead of one that is started for each scenario"),
    line("--json file", "writes all figures, and what they depend on, to a file"),
  ].join("\n");
}
