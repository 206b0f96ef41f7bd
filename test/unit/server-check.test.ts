import * as fc from "fast-check";
import type { ServerInfo } from "nats";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isAtLeast, requireServer, SERVER_FLOOR } from "../../src/bus/server-check.ts";
import { isAsyncError } from "../../src/job/errors.ts";

const info = (version: string, jetstream: boolean) => ({ version, jetstream }) as unknown as ServerInfo;

test("a server of the floor version or newer with JetStream will do", () => {
  for (const version of [SERVER_FLOOR, "2.14.1", "2.15.0", "3.0.0", "2.14.0-RC.1", "v2.14.0", "2.14.0+build5"]) {
    assert.not.throws(() => requireServer(info(version, true)), version);
  }
});

test("an older server, or one that does not tell a version, is too old", () => {
  for (const version of ["2.13.9", "2.9.25", "1.99.99", "0.0.0", "", "dev"]) {
    assert.throws(
      () => requireServer(info(version, true)),
      (error: unknown) => isAsyncError(error, "server_too_old") && error.message.includes(SERVER_FLOOR),
      version,
    );
  }
});

test("a server without JetStream will do: a leaf node has that of its hub", () => {
  assert.not.throws(() => requireServer(info(SERVER_FLOOR, false)));
});

test("a server that is too old is told so before it is told to turn on JetStream", () => {
  assert.throws(
    () => requireServer(info("2.10.0", false)),
    (error: unknown) => isAsyncError(error, "server_too_old"),
  );
});

test("a server that did not introduce itself is not connected", () => {
  assert.throws(
    () => requireServer(undefined),
    (error: unknown) => isAsyncError(error, "not_connected"),
  );
});

test("versions are compared by their numbers, not as text", () => {
  assert.ok(isAtLeast("2.100.0", "2.14.0"));
  assert.ok(isAtLeast("10.0.0", "9.9.9"));
  assert.not.ok(isAtLeast("2.9.0", "2.14.0"));
  assert.ok(isAtLeast("2.14", "2.14.0"));
  assert.not.ok(isAtLeast("2.14", "2.14.1"));
});

test("of two versions each is at least the other only if they are equal", () => {
  const version = fc.tuple(fc.nat(3), fc.nat(20), fc.nat(3));
  fc.assert(
    fc.property(version, version, (a, b) => {
      const [x, y] = [a.join("."), b.join(".")];
      assert.ok(isAtLeast(x, y) || isAtLeast(y, x));
      assert.is(isAtLeast(x, y) && isAtLeast(y, x), x === y);
    }),
    { numRuns: 300 },
  );
});

test.run();
