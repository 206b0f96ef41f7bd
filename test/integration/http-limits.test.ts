/** Whom the bridge answers, and how many it bears. */
import { get } from "node:http";
import { connect } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { startBridge } from "../../src/http/bridge.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("http-limits");

test("[LIMITS-1] a bridge on loopback answers nobody who was led there by another name", async () => {
  const system = await System.start("without supervisor");
  const bridge = await startBridge({ client: system.client, port: 0 });
  const statusFor = (host: string) =>
    new Promise<number | undefined>((resolve, reject) => {
      get(`${bridge.url}/healthz`, { headers: { host } }, (response) => {
        response.resume();
        resolve(response.statusCode);
      }).on("error", reject);
    });
  try {
    for (const host of ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:80"])
      assert.is(await statusFor(host), 200, host);
    for (const host of ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example"]) {
      assert.is(await statusFor(host), 403, host);
    }
  } finally {
    await bridge.close();
    await system.close();
  }
});

test("[LIMITS-3] connections that ask nothing do not shut others out", async () => {
  const system = await System.start("without supervisor");
  const bridge = await startBridge({ client: system.client, port: 0, maxConnections: 10 });
  const idle = Array.from({ length: 30 }, () => connect(Number(new URL(bridge.url).port), "127.0.0.1"));
  try {
    let closed = 0;
    for (const socket of idle) {
      socket.on("error", () => {}); // a reset is as good as an end
      socket.on("close", () => {
        closed += 1;
      });
      socket.resume();
      socket.write("GET /healthz HT"); // and no more
    }
    await eventually("those that have said nothing for longest are closed", () => closed >= 20);
    assert.is((await fetch(`${bridge.url}/healthz`)).status, 200);
    assert.is(idle.length - closed <= 10, true);
  } finally {
    for (const socket of idle) socket.destroy();
    await bridge.close();
    await system.close();
  }
});

test.run();
