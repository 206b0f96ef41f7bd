import type { Msg } from "nats";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { apiAnswer } from "../../src/bus/wire/jetstream.ts";
import { isAsyncError } from "../../src/job/errors.ts";

const test = suite("api-answer");
const reply = (text: string) => ({ json: () => JSON.parse(text) }) as unknown as Msg;

test("an answer of JetStream is an object, or an error that is tried again, never one that nobody expects", () => {
  assert.equal(apiAnswer(reply('{"state":{"messages":1}}')), { state: { messages: 1 } });
  for (const text of ["", "garbage", "null", "[]", "7", '"x"']) {
    assert.throws(
      () => apiAnswer(reply(text)),
      (error: unknown) => isAsyncError(error, "jetstream_unavailable"),
      text,
    );
  }
});

test.run();
