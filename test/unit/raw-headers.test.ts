import * as fc from "fast-check";
import { headers, type MsgHdrs } from "nats";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { expectSequence, expectSequenceWithTtl, headersOf } from "../../src/bus/wire/headers.ts";

/** What the client sends of them. */
const sent = (set: MsgHdrs) => Buffer.from((set as unknown as { encode(): Uint8Array }).encode()).toString();

test("headers go over the wire as the client's own do", () => {
  const own = headers();
  own.set("Nats-Service-Error-Code", "500");
  own.set("Nats-Service-Error", "out of order: ä");
  const raw = headersOf({ "Nats-Service-Error-Code": "500", "Nats-Service-Error": "out of order: ä" });
  assert.is(sent(raw), sent(own));
});

test("no headers are an empty block", () => {
  assert.is(sent(headersOf({})), "NATS/1.0\r\n\r\n");
});

test("a line break is refused, so that no value becomes a header of its own", () => {
  for (const text of ["a\nb", "a\rb", "a\r\nEvil: 1", "\n", "a\r\n\r\nbody"]) {
    assert.throws(() => headersOf({ Fine: "1", Broken: text }), /line break in header Broken/, JSON.stringify(text));
    assert.throws(() => headersOf({ [text]: "1" }), /line break/, JSON.stringify(text));
  }
});

test("whatever the text, there are as many lines as there are headers", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string({ unit: "binary" }), fc.string({ unit: "binary" })), (pairs) => {
      let block: string;
      try {
        block = sent(headersOf(pairs));
      } catch (error) {
        assert.instance(error, TypeError);
        return;
      }
      const lines = block.split(/[\r\n]+/);
      assert.is(lines.length, 2 + Object.keys(pairs).length);
      assert.ok(block.endsWith("\r\n\r\n"));
    }),
    { numRuns: 500 },
  );
});

test("an expected sequence, with and without a time to live", () => {
  assert.is(sent(expectSequence(0)), "NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: 0\r\n\r\n");
  assert.is(sent(expectSequence(1_234)), "NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: 1234\r\n\r\n");
  assert.is(
    sent(expectSequenceWithTtl(7, "60s")),
    "NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: 7\r\nNats-TTL: 60s\r\n\r\n",
  );
});

test.run();
