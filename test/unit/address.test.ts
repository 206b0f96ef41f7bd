import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { accessFromEnvironment, accessOf, redacted } from "../../src/bus/address.ts";
import { visibleArguments } from "../../src/cli/options.ts";
import { isAsyncError } from "../../src/job/errors.ts";

const identity = (url: string) => {
  const { user, pass, token } = accessOf(url).client;
  return token === undefined ? [user, pass] : [token];
};

test("user, password and token are taken out of an address (ADDRESS-1)", () => {
  assert.equal(identity("nats://h:4222"), [undefined, undefined]);
  assert.equal(identity("nats://u:p@h"), ["u", "p"]);
  assert.equal(identity("u:p@h:1"), ["u", "p"]);
  assert.equal(identity("nats://u:@h"), ["u", ""]);
  assert.equal(identity("nats://secret@h"), ["secret"]);
  assert.equal(identity("nats://u:4711x@h:1"), ["u", "4711x"], "a password that begins with digits is no port");
  assert.equal(identity("nats://u:p%40s%3As%2Fw%2C%25@h"), ["u", "p@s:s/w,%"]);
  assert.equal(identity("nats://u:a@b/c?d#e:f@h"), ["u", "a@b/c?d#e:f"]);
  assert.equal(identity("nats://u:100%@h"), ["u", "100%"]);
  assert.equal(identity("nats://u:a,b@h,nats://g"), ["u", "a,b"]);
  assert.equal(identity("nats://u:p@[::1]:4333"), ["u", "p"]);
});

test("several addresses share one identity", () => {
  const { servers, shown, client } = accessOf("nats://u:p@a:1, b ,tls://u:p@[::1]:3");
  assert.equal(servers, ["a:1", "b:4222", "[::1]:3"]);
  assert.is(shown, "nats://a:1,nats://b:4222,tls://[::1]:3");
  assert.equal([client.user, client.pass, client.tls], ["u", "p", {}]);
  assert.throws(() => accessOf("nats://u:p@a,nats://v:p@b"), /different credentials/);
});

test("what is no address is refused without showing it", () => {
  for (const url of ["", "http://u:pw@h", "nats://u:pw@", "nats://u:pw@h:99999", "nats://u:pw@h:x", "ws://h", "a b"]) {
    assert.throws(
      () => accessOf(url),
      (error: unknown) => isAsyncError(error, "invalid_option") && !/pw/.test(error.message.replace("password", "")),
      url,
    );
    assert.not.match(redacted(url), "pw");
  }
});

test("options are taken instead of what the address says (ADDRESS-2), and half an identity is refused", () => {
  const { client } = accessOf("nats://u:p@h", { token: "t" });
  assert.equal([client.user, client.token], [undefined, "t"]);
  const wrong = [
    { password: "p" },
    { user: "u", token: "t" },
    { tlsCert: "x" },
    { inboxPrefix: "*" },
    { domain: "a.b" },
  ];
  for (const options of [...wrong, { creds: "/not/there" }, { nkey: "SUWRONG" }, { tlsCa: "/not/there" }]) {
    assert.throws(
      () => accessOf("nats://h", options),
      (error: unknown) => isAsyncError(error, "invalid_option"),
      JSON.stringify(options),
    );
  }
});

test("a file that is no credentials file is refused at once", async () => {
  const folder = await mkdtemp(join(tmpdir(), "async-test-"));
  const file = join(folder, "creds");
  await writeFile(file, "nothing");
  assert.throws(() => accessOf("nats://h", { creds: file }), /not a credentials file/);
  assert.throws(() => accessOf("nats://h", { nkey: file }), /no seed/);
  await rm(folder, { recursive: true });
});

test("the environment is read by name, and its identity yields to that of the address", () => {
  const env = { NATS_URL: "nats://h", ASYNC_NATS_USER: "u", ASYNC_NATS_PASSWORD: "p", ASYNC_NATS_TLS_FIRST: "1" };
  assert.equal(accessFromEnvironment(env), { url: "nats://h", user: "u", password: "p", tlsFirst: true });
  assert.equal(accessFromEnvironment({ ...env, ASYNC_NATS_TLS_FIRST: "0" }, "nats://v:w@h"), { url: "nats://v:w@h" });
  assert.throws(() => accessFromEnvironment({ ASYNC_NATS_TLS_FIRST: "maybe" }), /1 or 0/);
});

test("a domain changes where the JetStream API is", () => {
  assert.is(accessOf("h").apiPrefix, "$JS.API");
  assert.is(accessOf("h", { domain: "hub" }).apiPrefix, "$JS.hub.API");
  assert.is(accessFromEnvironment({ ASYNC_NATS_DOMAIN: "hub" }).domain, "hub");
});

test("process titles have no secrets", () => {
  assert.is(visibleArguments(["get", "x@y", "--nats", "nats://h"]), undefined);
  assert.equal(visibleArguments(["get", "x", "--nats", "nats://u:p@h:1"]), ["get", "x", "--nats", "nats://h:1"]);
  assert.equal(visibleArguments(["--nats=u:p@h:1"]), ["--nats=nats://h:1"]);
  assert.equal(visibleArguments(["--password", "p", "--token=t"]), ["--password", "***", "--token=***"]);
});

test.run();
