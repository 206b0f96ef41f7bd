/** The bodies of requests, as a supervisor checks them. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { checkPageRequest, checkRetryPatch } from "../../src/api/requests.ts";
import { STATUS } from "../../src/api/status.ts";
import { parseTags } from "../../src/api/tags.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import { MAX_TAG_LENGTH, MAX_TAGS } from "../../src/job/schema.ts";

/** Why it is refused, as `invalid_request`. */
function refusal(check: () => unknown): string {
  try {
    check();
  } catch (error) {
    if (isAsyncError(error, "invalid_request")) return error.message;
    throw error;
  }
  throw new Error("it is not refused");
}

test("a retry may ask for nothing, and for all that there is", () => {
  assert.equal(checkRetryPatch({}), {});
  const all = { data: null, args: [1], args_by_id: { a: null }, from: "a", failed: false, force: true, by: "ann" };
  assert.equal(checkRetryPatch(all), all);
  assert.equal(checkRetryPatch({ from: 0, args: undefined }), { from: 0 });
  assert.equal(checkRetryPatch({ failed: true }), { failed: true });
});

test("each field of a retry that makes no sense is named, with what it should be", () => {
  const cases: [Record<string, unknown>, string][] = [
    [{ arg: 1 }, "arg is not a known field; there are data, args, args_by_id, from, failed, force, by"],
    [{ args_by_id: [] }, "args_by_id must be an object {id: args}"],
    [{ args_by_id: "a" }, "args_by_id must be an object {id: args}"],
    [{ from: null }, "from must be the id of an entry, or its index"],
    [{ from: "" }, "from must be the id of an entry, or its index"],
    [{ from: -1 }, "from must be the id of an entry, or its index"],
    [{ from: 0.5 }, "from must be the id of an entry, or its index"],
    [{ failed: 1 }, "failed must be true or false"],
    [{ force: "true" }, "force must be true or false"],
    [{ from: "a", failed: true }, "from and failed cannot be asked for together"],
    [{ by: "" }, "by must be text of 1 to 128 characters"],
    [{ by: "x".repeat(129) }, "by must be text of 1 to 128 characters"],
    [{ by: {} }, "by must be text of 1 to 128 characters"],
    [{ ["x".repeat(10_000)]: 1 }, `${"x".repeat(64)} is not a known field`],
  ];
  for (const [body, why] of cases)
    assert.match(
      refusal(() => checkRetryPatch(body)),
      why,
    );
});

test("an entry that a job does not have is not found", () => {
  assert.is(STATUS.no_entry, 404);
});

test("tags are asked for as text, as a list of texts, and as an object; together they must all be there", () => {
  const tagsOf = (body: Record<string, unknown>) => checkPageRequest(body).tags;
  assert.is(tagsOf({}), undefined);
  assert.equal(tagsOf({ tag: "customer:c1" }), { customer: "c1" });
  assert.equal(tagsOf({ tag: ["customer:c1", "region:eu"] }), { customer: "c1", region: "eu" });
  assert.equal(tagsOf({ tag: "customer:c1", tags: { region: "eu", customer: "c1" } }), {
    region: "eu",
    customer: "c1",
  });
  assert.not("tag" in checkPageRequest({ tag: "a:b" }), "it is told once");
});

test("the name of a tag ends at the first colon; its value may be empty, and have any characters", () => {
  assert.equal(parseTags(["url:http://a:80", "empty:", "two lines:a\nb"]), {
    url: "http://a:80",
    empty: "",
    "two lines": "a\nb",
  });
});

test("what is no tag, too long, too many, or contradicts itself is refused", () => {
  const many = Object.fromEntries(Array.from({ length: MAX_TAGS + 1 }, (_, index) => [`t${index}`, "x"]));
  const cases: [Record<string, unknown>, string][] = [
    [{ tag: "customer" }, 'not a tag: "customer"; a tag is asked for as name:value'],
    [{ tag: ":c1" }, 'not a tag: ":c1"'],
    [{ tag: [1] }, "tag must be text"],
    [{ tag: null }, "tag must be text"],
    [{ tags: null }, "tags must be an object"],
    [{ tags: "a:b" }, "tags must be an object"],
    [{ tags: { a: 1 } }, "tag a must be text"],
    [{ tag: `a:${"x".repeat(MAX_TAG_LENGTH + 1)}` }, `tag a must be text of at most ${MAX_TAG_LENGTH} characters`],
    [{ tags: many }, `at most ${MAX_TAGS} tags`],
    [{ tag: ["a:1", "a:2"] }, "tag a is asked for with two values"],
    [{ tag: "a:1", tags: { a: "2" } }, "tag a is asked for with two values"],
  ];
  for (const [body, why] of cases)
    assert.match(
      refusal(() => checkPageRequest(body)),
      why,
    );
});

test.run();
