/** All attacks, and running those whose name contains some words. Those that name no target share one. */
import { type Attack, describeOutcome, type Outcome, runAttack, type Scale } from "./attack.ts";
import { crowds } from "./attacks/crowds.ts";
import { strangers } from "./attacks/strangers.ts";
import { Target } from "./target.ts";

export const ATTACKS: readonly Attack[] = [...strangers, ...crowds];

/** One after the other, the outcome of each told as it comes. */
export async function runAttacks(
  attacks: readonly Attack[],
  scale: Scale,
  onOutcome: (outcome: Outcome, line: string) => void,
): Promise<void> {
  const run = async (attack: Attack, target: Target) => {
    const outcome = await runAttack(attack, target, scale);
    onOutcome(outcome, describeOutcome(outcome));
  };
  const [shared, own] = [attacks.filter(({ target }) => !target), attacks.filter(({ target }) => target)];
  if (shared.length > 0) {
    const target = await Target.start({ hostileProcess: true });
    try {
      for (const attack of shared) await run(attack, target);
    } finally {
      await target.close();
    }
  }
  for (const attack of own) {
    const { target: options = {}, startsSupervisors } = attack;
    const target = await (startsSupervisors ? Target.startWithoutSupervisors(options) : Target.start(options));
    try {
      await run(attack, target);
    } finally {
      await target.close();
    }
  }
}
