import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { functionSubject, submitSubject } from "../../src/api/subjects.ts";
import {
  CHILD_PREFIX,
  chosenJobIdProblem,
  entryIdProblem,
  functionNameProblem,
  jobIdOfSequence,
  jobIdProblem,
  MAX_FUNCTION_NAME_LENGTH,
  MAX_JOB_ID_LENGTH,
  PATTERNS,
  sequenceOf,
} from "../../src/job/names.ts";

/** A subject that can be published to and that nobody's wildcard is hidden in. */
const isPlainSubject = (subject: string) =>
  subject.split(".").every((token) => token.length > 0 && /^[\x21-\x7e]+$/.test(token) && !/[*>]/.test(token));

const anyText = fc.oneof(
  fc.string({ unit: "binary", maxLength: 20 }),
  fc.string({ unit: fc.constantFrom(..."aZ0_-./$*> \n\té"), maxLength: 12 }),
);

test("job ids are letters, digits, '-' and '_'", () => {
  for (const id of ["a", "A-9_z", "0", "-", "seq-1", "x".repeat(MAX_JOB_ID_LENGTH)]) {
    assert.is(jobIdProblem(id), undefined, id);
  }
});

test("what cannot be one subject token, key and path segment is no job id", () => {
  for (const id of ["a.b", "a b", "a*", ">", "$a", "a/b", "a\n", "\na", "é", "a\u0000", "a%20", "..", "=", "a:b"]) {
    assert.match(jobIdProblem(id) ?? "", "must consist of", JSON.stringify(id));
  }
});

test("what expressions could never name is no id of an entry, and the schema says so as well", () => {
  for (const id of ["__proto__", "in", "a-b", "1a", ""]) {
    assert.ok(entryIdProblem(id), id);
    assert.not.ok(new RegExp(PATTERNS.entryId).test(id), id);
  }
  for (const id of ["constructor", "toString", "_proto_", "a1"]) assert.is(entryIdProblem(id), undefined, id);
});

test("an empty job id and one that is too long are refused for that", () => {
  assert.is(jobIdProblem(""), "must not be empty");
  assert.is(jobIdProblem("x".repeat(MAX_JOB_ID_LENGTH + 1)), "must have at most 128 characters");
});

test("an id that looks like one made from a sequence cannot be chosen", () => {
  for (const id of ["seq-0", "seq-1", "seq-9007199254740991"]) {
    assert.match(chosenJobIdProblem(id) ?? "", "seq-<number>");
    assert.is(jobIdProblem(id), undefined);
  }
  for (const id of ["seq-", "seq-01", "seq-1a", "Seq-1", "xseq-1", "seq-1-1"]) {
    assert.is(chosenJobIdProblem(id), undefined, id);
  }
});

test("an id that begins as those of children do cannot be chosen, and is a job id all the same", () => {
  for (const id of [CHILD_PREFIX, "sub-1", `${CHILD_PREFIX}${"x".repeat(22)}`]) {
    assert.match(chosenJobIdProblem(id) ?? "", "must not begin with sub-: such ids are those of the children of jobs");
    assert.not.ok(new RegExp(PATTERNS.jobId).test(id), id);
    assert.is(jobIdProblem(id), undefined, id);
  }
  for (const id of ["sub", "Sub-1", "xsub-1", "sub_1"]) {
    assert.is(chosenJobIdProblem(id), undefined, id);
    assert.ok(new RegExp(PATTERNS.jobId).test(id), id);
  }
});

test("ids made from sequences are job ids, and lead back to the sequence", () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (sequence) => {
      const id = jobIdOfSequence(sequence);
      assert.is(sequenceOf(id), sequence);
      assert.is(jobIdProblem(id), undefined);
      assert.ok(chosenJobIdProblem(id));
    }),
  );
});

test("ids that were not made from a sequence lead to none", () => {
  for (const id of [
    "",
    "seq-",
    "seq--1",
    "seq-01",
    "seq-1.5",
    "seq-1e3",
    "seq-12345678901234567",
    "job-1",
    "seq-1\n",
  ]) {
    assert.is(sequenceOf(id), undefined, JSON.stringify(id));
  }
});

test("a job id that is accepted is one token of a subject, and fits the published pattern", () => {
  fc.assert(
    fc.property(anyText, (id) => {
      fc.pre(jobIdProblem(id) === undefined);
      assert.match(id, /^[A-Za-z0-9_-]+$/);
      assert.is(submitSubject(id).split(".").length, 3);
      assert.ok(isPlainSubject(submitSubject(id)));
      assert.is(encodeURIComponent(id), id);
    }),
  );
});

test("a function name that is accepted makes a subject without wildcards, spaces and empty tokens", () => {
  fc.assert(
    fc.property(anyText, (name) => {
      fc.pre(functionNameProblem(name) === undefined);
      assert.ok(isPlainSubject(functionSubject(name)));
      assert.not.ok(name.startsWith("$"));
    }),
  );
});

test("a function name that makes a plain subject is accepted", () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(..."aZ0_-./:@#"), minLength: 1, maxLength: 30 }), (name) => {
      fc.pre(isPlainSubject(functionSubject(name)));
      assert.is(functionNameProblem(name), undefined);
    }),
  );
});

test("function names may look like paths and like subjects", () => {
  for (const name of [
    "hello",
    "/v1/test-1",
    "mail.send",
    "a",
    "x".repeat(MAX_FUNCTION_NAME_LENGTH),
    "a$",
    "~",
    "{x}",
  ]) {
    assert.is(functionNameProblem(name), undefined, name);
  }
});

test("each way in which a function name can be wrong has its reason", () => {
  const cases: [string, string][] = [
    ["", "empty"],
    ["x".repeat(MAX_FUNCTION_NAME_LENGTH + 1), "at most 200 characters"],
    ["a b", "printable ASCII"],
    ["a\n", "printable ASCII"],
    ["a\u007f", "printable ASCII"],
    ["é", "printable ASCII"],
    ["a.*", "wildcards"],
    ["a*b", "wildcards"],
    [">", "wildcards"],
    ["$SYS", "'$'"],
    [".", "'.'"],
    [".a", "'.'"],
    ["a.", "'.'"],
    ["a..b", "'.'"],
  ];
  for (const [name, reason] of cases) assert.match(functionNameProblem(name) ?? "", reason, JSON.stringify(name));
});

test.run();
