/** Whom the bridge answers, and how many it bears. */
import { get } from "node:http";
import { connect, type Socket } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { startBridge } from "../../src/http/bridge.ts";
import { testBus } from "../support/nats.ts";
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

test("[LIMITS-1] what a page of another origin has a browser send is refused", async () => {
  const system = await System.start("without supervisor");
  const bridge = await startBridge({ client: system.client, port: 0 });
  try {
    const retry = (origin: string) => fetch(`${bridge.url}/v1/job/x/retry`, { method: "POST", headers: { origin } });
    for (const origin of ["https://evil.example", "null", "http://localhost.evil.example:8000"]) {
      const response = await retry(origin);
      assert.is(response.status, 403, origin);
      assert.is(((await response.json()) as { error: { code: string } }).error.code, "forbidden_host");
    }
    const { port } = new URL(bridge.url);
    const health = await fetch(`${bridge.url}/healthz`, { headers: { origin: `http://localhost:${port}` } });
    assert.is(health.status, 200);
  } finally {
    await bridge.close();
    await system.close();
  }
});

test("[LIMITS-4] bodies that do not come on take so much memory and no more, and shut nobody out", async () => {
  const system = await System.start("without supervisor");
  const bridge = await startBridge({ client: system.client, port: 0 });
  const sockets: Socket[] = [];
  let refused = 0;
  try {
    for (let i = 0; i < 120; i++) {
      const socket = connect(Number(new URL(bridge.url).port), "127.0.0.1");
      socket.on("error", () => {});
      socket.on("data", (text) => {
        if (String(text).startsWith("HTTP/1.1 503")) refused += 1;
      });
      socket.write("POST /v1/job HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n");
      socket.write("Content-Length: 1040000\r\n\r\n{");
      sockets.push(socket);
    }
    await eventually("those that there is no room for are refused", () => refused >= 50);
    const small = JSON.stringify({ name: "x", functions: [{ name: "x" }] });
    const post = (body: string) =>
      fetch(`${bridge.url}/v1/job`, { method: "POST", headers: { "content-type": "application/json" }, body });
    // 503, but of what is behind the bridge: there are no streams
    assert.is.not(((await (await post(small)).json()) as { error: { code: string } }).error.code, "bus_overloaded");
    const large = `${small}${" ".repeat(1_000_000)}`;
    await eventually("those that have not come on for long give way", async () => {
      const { error } = (await (await post(large)).json()) as { error: { code: string } };
      return error.code !== "bus_overloaded";
    });
  } finally {
    for (const socket of sockets) socket.destroy();
    await bridge.close();
    await system.close();
  }
});

test("[CONTROL-5, QUESTIONS-1] whoever asks thousands of times for a large job costs nobody his connection", async () => {
  const system = await System.start();
  const bridge = await startBridge({ client: system.client, port: 0 });
  let lost = 0;
  system.bus.onReconnected(() => {
    lost += 1;
  });
  const socket = connect(Number(new URL(bridge.url).port), "127.0.0.1");
  try {
    const job = { name: "large", data: "x".repeat(900_000), functions: [{ name: "nobody" }], timeout_ms: 1 };
    await system.client.submit(job, { jobId: "large" });
    await system.client.wait("large");
    const other = await testBus(system.url, "asker");
    for (let i = 0; i < 2_000; i++) other.nc.publish("job.get.large", "", { reply: "nobody.listens" });
    await other.flush();
    await other.close();
    await eventually("it answers others", () => system.client.get("large").catch(() => undefined), 15_000);
    socket.on("error", () => {});
    socket.pause();
    socket.write("GET /v1/job/large HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(500));
    await eventually(
      "the bridge answers others",
      async () => (await fetch(`${bridge.url}/v1/job/large`)).status === 200,
    );
    await new Promise((resolve) => setTimeout(resolve, 4_000));
    await eventually("it still does", async () => (await fetch(`${bridge.url}/v1/job/large`)).status === 200);
    assert.is(lost, 0);
  } finally {
    socket.destroy();
    await bridge.close();
    await system.close();
  }
});

test.run();
