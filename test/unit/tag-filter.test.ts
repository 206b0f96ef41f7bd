import * as fc from "fast-check";
import { Packr } from "msgpackr";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BriefWriter } from "../../src/bus/store/brief-state.ts";
import { packState } from "../../src/bus/store/stored-state.ts";
import { TagFilter } from "../../src/bus/store/tag-filter.ts";
import { MAX_TAG_LENGTH, MAX_TAGS } from "../../src/job/schema.ts";
import { newJob, submissionOf } from "./support.ts";

const value = fc.string({ unit: "binary", maxLength: MAX_TAG_LENGTH });
// The encoder renames this one, so no record has it.
const name = fc.string({ unit: "binary", minLength: 1, maxLength: 300 }).filter((text) => text !== "__proto__");
const anyTags = fc.dictionary(name, value, { minKeys: 1, maxKeys: MAX_TAGS, noNullPrototype: true });
const jobWith = (tags: Record<string, string>, data: unknown = null) =>
  newJob({ ...submissionOf("a", "b"), tags, data });

test("a record that has the tags is never passed over, in full or in brief", () => {
  fc.assert(
    fc.property(anyTags, fc.boolean(), (tags, asked) => {
      const job = jobWith(tags);
      const [first = ""] = Object.keys(tags);
      const filter = new TagFilter(asked ? tags : Object.fromEntries([[first, tags[first] ?? ""]]));
      assert.ok(filter.mayBeRecord(packState(job)));
      assert.ok(filter.mayBeRecord(new BriefWriter().write(job)));
      assert.ok(filter.matches(job));
    }),
  );
});

test("nor is a submission, in JSON with and without escapes, and in MessagePack", () => {
  const escaped = (json: string) =>
    json.replaceAll(/[^\x20-\x7e]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);
  const packr = new Packr({ useRecords: false });
  fc.assert(
    fc.property(anyTags, (tags) => {
      const filter = new TagFilter(tags);
      const submission = { ...submissionOf("a"), tags };
      const json = JSON.stringify(submission);
      for (const text of [json, escaped(json), JSON.stringify(submission, null, 2)]) {
        assert.ok(filter.mayBeSubmission(Buffer.from(text)));
      }
      assert.ok(filter.mayBeSubmission(packr.pack(submission)));
    }),
  );
});

test("what has another value, another name, or less, is passed over unread", () => {
  const filter = new TagFilter({ customer: "c1", region: "eu" });
  const others = [
    { customer: "c2", region: "eu" },
    { customer: "c1" },
    { customer: "c11", region: "eu" },
    { client: "c1", region: "eu" },
    { customer: "eu", region: "c1" },
    {},
  ];
  for (const tags of others) {
    const job = jobWith(tags as Record<string, string>);
    assert.not(filter.mayBeRecord(packState(job)), JSON.stringify(tags));
    assert.not(filter.matches(job), JSON.stringify(tags));
  }
  assert.not(filter.matches(newJob(submissionOf("a"))));
  const other = { tags: { customer: "c2", region: "eu" }, functions: [] };
  for (const encoded of [Buffer.from(JSON.stringify(other)), new Packr().pack(other)]) {
    assert.not(filter.mayBeSubmission(encoded));
  }
});

test("a submission without functions is looked at: it may have the tags of its definition", () => {
  const filter = new TagFilter({ customer: "c1" });
  for (const encoded of [Buffer.from('{"name":"order"}'), new Packr().pack({ name: "order" })]) {
    assert.ok(filter.mayBeSubmission(encoded));
  }
});

test("data that looks like the tags is looked at, and does not match", () => {
  const filter = new TagFilter({ customer: "c1" });
  const job = jobWith({ customer: "c2" }, { customer: "c1" });
  assert.ok(filter.mayBeRecord(packState(job)));
  assert.not(filter.matches(job));
});

test("names that objects have by themselves are none of a job", () => {
  for (const own of ["constructor", "toString", "__proto__"]) {
    const asked = Object.fromEntries([[own, "x"]]);
    assert.not(new TagFilter(asked).matches(newJob(submissionOf("a"))), own);
  }
});

test.run();
