import * as fc from "fast-check";
import { MsgHdrsImpl } from "nats";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readHeaders } from "../../src/bus/wire/read-headers.ts";

const test = suite("read-headers");
const read = (text: string) => readHeaders(Buffer.from(text));
const seen = (headers: MsgHdrsImpl | undefined) => headers && [headers.code, headers.description, [...headers]];

test("what the client can read is read as the client reads it", () => {
  const line = fc.oneof(
    fc.constantFrom("A: 1", "A: 2", "a:b", "Nats-TTL:  60s ", "no colon", ": empty", "x:", "ä", "b: é: f"),
    fc.string({ unit: "binary" }),
  );
  const first = fc.constantFrom(
    "NATS/1.0",
    "NATS/1.0 503",
    "NATS/1.0 100 Idle Heartbeat",
    "NATS/1.0 abc",
    "",
    "HTTP/1.1",
  );
  fc.assert(
    fc.property(first, fc.array(line, { maxLength: 6 }), (head, lines) => {
      const text = `${head}\r\n${lines.join("\r\n")}\r\n\r\n`;
      let own: MsgHdrsImpl;
      try {
        own = MsgHdrsImpl.decode(Buffer.from(text));
      } catch {
        read(text); // it does not throw
        return;
      }
      assert.equal(seen(read(text)), seen(own));
    }),
  );
});

test("lines that cannot be read are left out, and what is left is there", () => {
  const headers = read("NATS/1.0\r\nbad key: x\r\nGood: y\r\nEvil: a\nb\r\nGood: z\r\n\r\n");
  assert.equal(seen(headers), [0, "", [["Good", ["y", "z"]]]]);
  assert.is(read("NATS/1.0\r\nbad key: x\r\n\r\n"), undefined);
  assert.is(read("NATS/1.0 503\r\nbad key: x\r\n\r\n")?.code, 503);
});

test("a block as large as a message is read in no time to speak of", () => {
  let text = "NATS/1.0\r\n";
  for (let i = 0; text.length < 1_000_000; i++) text += `${i.toString(36)}:\r\n`;
  const begun = performance.now();
  const headers = read(`${text}\r\n`);
  assert.is(headers?.last("zz"), "");
  assert.ok((headers?.size() ?? 0) > 100_000);
  assert.ok(performance.now() - begun < 5_000, "it took as long as the square of its length"); // the client takes minutes
});

test.run();
