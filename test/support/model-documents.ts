/** Documents that several unit suites check: with all that a document may have. */

export const CHILD = { functions: [{ name: "inner" }] };

/** The document at the top of JOB-MODEL.md. */
export const MODEL = {
  name: "order",
  data: { total: 1200, items: [{ sku: "a" }], customer: "c1" },
  tags: { customer: "c1" },
  functions: [
    { id: "reserve", name: "reserve-stock", undo: "release-stock" },
    {
      id: "approve",
      wait_for: "approval",
      timeout_ms: 86_400_000,
      when: "data.total > 1000",
      expect: "result.approved",
    },
    {
      id: "charge",
      name: "charge",
      args: { amount: { $: "data.total" } },
      undo: { name: "refund", retry_options: { retry_limit: 20 } },
    },
    {
      id: "pick",
      for_each: "data.items",
      name: "pick",
      args: { sku: { $: "item.sku" } },
      concurrency: 20,
      tolerate: "5%",
    },
    { sleep_ms: 3_600_000 },
    { id: "invoice", job: { functions: [{ name: "make-invoice" }] }, needs: ["charge"] },
    { name: "thank", on_error: "continue" },
  ],
  on_failure: { name: "alert" },
};

/** With everything that a document may have. */
export const ALL = {
  name: "all",
  functions: [
    { id: "list", name: "list", undo: { name: "unlist", args: { r: { $: "result" }, e: { $: "error.message" } } } },
    { id: "numbered", name: "n", for_each: 1_000, slice: 10, context: true, results: "none", tolerate: 3 },
    {
      id: "listed",
      name: "l",
      for_each: { name: "s3.list", args: { $: "results.list" }, retry_options: { retry_limit: 3 }, timeout_ms: 5 },
      args: [{ $: "item" }, { $: "item_index + 1" }],
      undo: {
        name: "u",
        args: { i: { $: "item" }, n: { $: "item_index" }, r: { $: "result" }, e: { $: "error.code" } },
      },
      on_error: { name: "instead", args: { $: "error.message" } },
      retry_options: { retry_limit: 2 },
      timeout_ms: 1_000,
    },
    { id: "signal", wait_for: "go", undo: "unsignal" },
    {
      id: "child",
      job: {
        name: "inner",
        data: { a: { $: "results.list" }, b: "data.x" },
        tags: { a: "b" },
        timeout_ms: 5,
        keep_ms: 5,
        warn_after_ms: 5,
        on_failure: "inner-alert",
        functions: [
          { id: "own", name: "own", args: { $: "data.a" }, undo: "unown" },
          { job: { data: { $: "results.own" }, functions: [{ name: "deep", args: { $: "data" } }] } },
        ],
      },
      undo: { name: "unchild", args: { $: "result" } },
      expect: "result != null",
    },
    {
      id: "each",
      job: { data: { $: "item" }, functions: [{ name: "x" }] },
      for_each: "results.listed",
      concurrency: 2,
    },
    { id: "planned", job: { $: "results.list.plan" } },
    { job: { $: "item" }, for_each: "results.list.plans", slice: 2 },
  ],
  on_failure: { name: "alert", args: { why: { $: "error.message" }, of: { $: "job.id" }, d: { $: "data" } } },
};
