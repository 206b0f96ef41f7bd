import { Bus } from "./src/bus/connection.ts";
import { readLast } from "./src/bus/store/stream-read.ts";
import { storedJob } from "./src/bus/store/job-store.ts";
const bus = await Bus.open({ url: "nats://127.0.0.1:35167", name: "x" });
const m = await readLast(bus, "KV_jobs", "$KV.jobs.s502-943");
console.log(m!.sequence, m!.storedAt, JSON.stringify(storedJob("s502-943", m!.sequence, m!.data), null, 0));
for (let i=0;i<6;i++) { const r: any = (await bus.mux.request(`$JS.API.CONSUMER.INFO.JOBS.supervisor`, "", 2000)).json(); console.log(r.delivered, r.num_redelivered); await new Promise(r=>setTimeout(r,2500)); }
await bus.close();
