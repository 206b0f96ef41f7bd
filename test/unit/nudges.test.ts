/** What anyone may send on `job.ctl.>` is read or ignored, and throws nothing. */
import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readHeartbeatMs } from "../../src/bus/messages/heartbeat.ts";
import { readQueued, readRoom, readStop, readStorage } from "../../src/bus/messages/nudges.ts";

const test = suite("nudges");

test("whatever JSON a nudge holds, in whichever of its fields", () => {
  const readers = [readRoom, readStop, readStorage, readQueued];
  const fields = ["functions", "slots", "heartbeat_ms", "reply", "full", "function"];
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...fields), fc.jsonValue()), (body) => {
      for (const read of readers) read(Buffer.from(JSON.stringify({ functions: [], ...body })));
    }),
  );
});

test("an interval that is an object without a number is none", () => {
  const room = readRoom(Buffer.from('{"functions":["x"],"heartbeat_ms":{"toString":1}}'));
  assert.equal(room, { functions: ["x"], slots: 1, heartbeatMs: undefined });
  assert.is(readHeartbeatMs(JSON.parse('[{"toString":1,"valueOf":1}]')), undefined);
  assert.equal([readHeartbeatMs("300"), readHeartbeatMs(300), readHeartbeatMs("")], [300, 300, undefined]);
});

test.run();
