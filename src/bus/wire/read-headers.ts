/**
 * Headers of a message that anyone may have sent, in a time that grows with their length. The client compares each name with all
 * before it: 240 kB of short ones kept its event loop for 50 s, and every supervisor that was given the message.
 */
import { MsgHdrsImpl } from "nats";

const PLAIN = "NATS/1.0";
/** Of the characters that the client accepts. */
const NAME = /^[!-9;-~]*$/;

/** As the client reads them, but for lines that it does not accept: these are left out. Undefined if nothing is left then. */
export function readHeaders(bytes: Uint8Array): MsgHdrsImpl | undefined {
  const lines = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString().split("\r\n");
  const first = lines[0] as string;
  const read = first === PLAIN ? new MsgHdrsImpl() : MsgHdrsImpl.decode(Buffer.from(first));
  let isWhole = true;
  for (let i = 1; i < lines.length; i++) {
    const line = lines[i] as string;
    const colon = line.indexOf(":");
    if (colon < 0) continue;
    const name = line.slice(0, colon);
    const value = line.slice(colon + 1).trim();
    if (!NAME.test(name) || value.includes("\n") || value.includes("\r")) {
      isWhole = false;
      continue;
    }
    const values = read.headers.get(name);
    if (values) values.push(value);
    else read.headers.set(name, [value]);
  }
  return isWhole || read.headers.size > 0 || read.code !== 0 ? read : undefined;
}
