const list = await (await fetch("http://127.0.0.1:9229/json")).json();
const ws = new WebSocket(list[0].webSocketDebuggerUrl);
await new Promise(r => ws.onopen = r);
let n = 0; const open = new Map();
ws.onmessage = (m) => { const d = JSON.parse(m.data); if (d.id) open.get(d.id)(d.result ?? d); };
const call = (method, params = {}) => new Promise(r => { const id = ++n; open.set(id, r); ws.send(JSON.stringify({ id, method, params })); });
const proto = (await call("Runtime.evaluate", { expression: "Object.prototype" })).result.objectId;
const objs = (await call("Runtime.queryObjects", { prototypeObjectId: proto })).objects.objectId;
const found = (await call("Runtime.callFunctionOn", { objectId: objs, functionDeclaration: "function(){ return this.filter(o => { try { return o.jobId === 's502-943' || o.constructor?.name==='JobActor' } catch { return false } }) }" })).result.objectId;
async function dump(id, depth, pad = "") {
  const p = await call("Runtime.getProperties", { objectId: id, ownProperties: true });
  for (const x of [...(p.result ?? []), ...(p.privateProperties ?? [])]) {
    const v = x.value; if (!v) continue;
    console.log(pad + x.name, "=", v.type === "object" ? (v.description ?? v.subtype) : v.type==="function" ? "fn" : JSON.stringify(v.value));
    if (depth > 0 && v.objectId && v.type === "object" && !/Context|Bus|Logger|context|bus|lifecycle|prototype/.test(x.name)) await dump(v.objectId, depth - 1, pad + "  ");
  }
}
await dump(found, Number(process.argv[2] ?? 3));
ws.close();
