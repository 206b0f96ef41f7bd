/** Numbers in JSON that would be rounded are found wherever they stand, and no others. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { inexactNumber } from "../../src/bus/messages/exact-json.ts";

const test = suite("exact JSON");

const digits = (most: number) => fc.stringMatching(new RegExp(`^[1-9][0-9]{0,${most - 1}}$`));
const exponent = fc.tuple(fc.constantFrom("e", "E", "e+", "E+", "e-"), digits(4)).map((parts) => parts.join(""));
const number = fc
  .tuple(
    fc.constantFrom("", "-"),
    digits(24),
    fc.option(digits(20), { nil: undefined }),
    fc.option(exponent, { nil: "" }),
  )
  .map(([sign, whole, fraction, power]) => `${sign}${whole}${fraction === undefined ? "" : `.${fraction}`}${power}`);
/** Looks like numbers, and is text. */
const text = fc.stringMatching(/^[0-9eE+ -]{0,40}$/).map((value) => JSON.stringify(value));

/** By the definition, one number at a time. */
function isExact(written: string): boolean {
  const value = Number(written);
  return Number.isFinite(value) && (/[.eE]/.test(written) || String(value) === written);
}

test("of any numbers between any texts, the first that is not exact is found", () => {
  const parts = fc.array(fc.oneof({ weight: 3, arbitrary: number }, { weight: 2, arbitrary: text }), { maxLength: 12 });
  fc.assert(
    fc.property(parts, (values) => {
      const json = `[${values.join(",")}]`;
      JSON.parse(json); // it is JSON
      const expected = values.find((one) => !one.startsWith('"') && !isExact(one));
      assert.is(inexactNumber(json), expected?.slice(0, 64));
    }),
    { numRuns: 2_000 },
  );
});

test("sixteen digits and an exponent of three are found at any place", () => {
  for (let before = 0; before < 40; before++) {
    const filling = `"${"x".repeat(before)}"`;
    for (const bad of ["9007199254740993", "12345678901234567890", "1e999", "1E+400"]) {
      assert.is(inexactNumber(`[${filling},${bad},7]`), bad);
    }
    for (const good of ["9007199254740991", "900719925474099", "1e300", "1e-999", "0.12345678901234567890"]) {
      assert.is(inexactNumber(`[${filling},${good},7]`), undefined, good);
    }
  }
});

test.run();
