import { test } from "uvu";
import * as assert from "uvu/assert";
import { VERSION } from "../../src/version.ts";
import { packageVersion } from "./support.ts";

test("the version in the code is that of the package", () => {
  assert.is(VERSION, packageVersion());
});

test("the version is one that NATS services may have", () => {
  assert.match(VERSION, /^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$/);
});

test.run();
