/** What the load tests may be asked, see bench/options.ts and bench/plan.ts. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { DEFAULTS, LIMITS, type NumberName, parseCommandLine, UsageError } from "../../bench/options.ts";
import { planOf } from "../../bench/plan.ts";
import type { Scenario } from "../../bench/scenario.ts";
import { SCENARIOS } from "../../bench/scenarios/index.ts";
import { usage } from "../../bench/usage.ts";

const plain: Scenario = {
  name: "plain",
  description: "takes jobs and rounds",
  numbers: { jobs: 7, rounds: 2 },
  run: async () => [],
};
const compared: Scenario = { ...plain, name: "compared", numbers: { jobs: 9 }, against: ["floor"] };
const both = [plain, compared];

function refused(args: string[], message: RegExp): void {
  assert.throws(
    () => planOf(parseCommandLine(args), both),
    (error: unknown) => error instanceof UsageError && message.test(error.message),
  );
}

test("options are read", () => {
  const asked = parseCommandLine([
    ...["single", "--jobs", "12", "--payload", "0", "--against", "floor,bullmq,floor"],
    ...["--nats", "nats://a:1,b:2", "--json", "out.json"],
  ]);
  assert.equal(asked, {
    scenario: "single",
    numbers: { jobs: 12, payload: 0 },
    against: ["floor", "bullmq"],
    nats: "nats://a:1,b:2",
    json: "out.json",
  });
});

test("without a scenario nothing is asked for", () => {
  assert.equal(parseCommandLine([]), { scenario: undefined, numbers: {} });
});

for (const name of Object.keys(LIMITS) as NumberName[]) {
  test(`--${name} is an integer within its limits`, () => {
    const { minimum, maximum } = LIMITS[name];
    assert.is(parseCommandLine(["x", `--${name}`, String(minimum)]).numbers[name], minimum);
    assert.is(parseCommandLine(["x", `--${name}`, String(maximum)]).numbers[name], maximum);
    for (const wrong of [String(minimum - 1), String(maximum + 1), "1.5", "1e2", "", " 1", "0x10", "many"]) {
      assert.throws(
        () => parseCommandLine(["x", `--${name}=${wrong}`]),
        new RegExp(`--${name} must be an integer from ${minimum} to ${maximum}`),
      );
    }
    assert.ok(DEFAULTS[name] >= minimum && DEFAULTS[name] <= maximum);
  });
}

test("what is wrong is refused with what is allowed", () => {
  refused(["nothing"], /there are plain, compared, all/);
  refused(["plain", "compared"], /one scenario at a time/);
  refused(["plain", "--job", "1"], /--job/);
  refused(["plain", "--jobs"], /jobs/);
  refused(["compared", "--against", "redis"], /some of one-process,floor,bullmq/);
  refused(["compared", "--against", ""], /some of one-process,floor,bullmq/);
  refused(["plain", "--nats", "http://x"], /nats:\/\//);
  refused(["plain", "--nats", ""], /nats:\/\//);
  refused(["plain", "--json", ""], /path of a file/);
});

test("an option that the scenario does not take is refused", () => {
  refused(["plain", "--seconds", "3"], /plain does not take --seconds; it takes --jobs --rounds$/);
  refused(["plain", "--against", "floor"], /does not take --against/);
  refused(["compared", "--rate", "3"], /it takes --jobs --against/);
});

test("the user's numbers come before the scenario's, and those before the general ones", () => {
  const [plan] = planOf(parseCommandLine(["plain", "--rounds", "3"]), both);
  assert.equal(plan?.numbers, { ...DEFAULTS, jobs: 7, rounds: 3 });
  assert.equal(plan?.against, []);
});

test("`all` runs every scenario, each with the options that it takes", () => {
  const plans = planOf(parseCommandLine(["all", "--rounds", "3", "--against", "bullmq"]), both);
  assert.equal(
    plans.map(({ scenario, numbers, against }) => [scenario.name, numbers.rounds, against]),
    [
      ["plain", 3, []],
      ["compared", DEFAULTS.rounds, ["bullmq"]],
    ],
  );
});

test("every scenario has a name of its own, one line of description, and numbers within the limits", () => {
  assert.is(new Set(SCENARIOS.map(({ name }) => name)).size, SCENARIOS.length);
  for (const { name, description, numbers } of SCENARIOS) {
    assert.match(description, /^[^\n]{10,110}$/, name);
    for (const [key, value] of Object.entries(numbers)) {
      const { minimum, maximum } = LIMITS[key as NumberName];
      assert.ok(value >= minimum && value <= maximum, `${name}: ${key}`);
    }
    assert.ok(usage(SCENARIOS).includes(description));
  }
});

test.run();
