import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { branchIn, placeOf } from "../../src/job/branches.ts";
import type { Branch } from "../../src/job/state.ts";

const branch = (index: number): Branch => ({ index, attempt: 1, wait: "none", since: 0 });

test("a branch is found by its index, and so is the place where one would be", () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(100), { maxLength: 40 }), fc.nat(100), (indexes, wanted) => {
      const live = [...indexes].sort((a, b) => a - b).map(branch);
      assert.is(
        branchIn(live, wanted),
        live.find(({ index }) => index === wanted),
      );
      assert.is(placeOf(live, wanted), live.filter(({ index }) => index < wanted).length);
    }),
  );
});

test.run();
