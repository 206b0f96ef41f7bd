/** How the submission of a job was encoded, and so how its invocations are. */
export type Encoding = "json" | "msgpack";
