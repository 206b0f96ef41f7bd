/** What the server says of a stream. */
import type { Bus } from "./connection.ts";
import { apiAnswer } from "./wire/jetstream.ts";

/** As much of it as is looked at. */
export interface StreamFacts {
  config: { max_bytes: number; num_replicas: number };
  state: {
    bytes: number;
    messages: number;
    first_seq: number;
    first_ts: string;
    last_seq: number;
    /** How many messages there are of each subject, if that was asked for. */
    subjects?: Record<string, number>;
  };
}

/** Which subjects are to be counted: at most 100,000, from one of them on. */
export interface SubjectsQuery {
  subjects_filter: string;
  offset?: number;
}

/** Without `config` and `state` if the stream is not made yet. @throws AsyncError of the bus */
export async function streamInfo(
  bus: Bus,
  stream: string,
  timeoutMs: number,
  query?: SubjectsQuery,
): Promise<Partial<StreamFacts>> {
  const body = query === undefined ? "" : JSON.stringify(query);
  return apiAnswer<StreamFacts>(await bus.mux.request(`${bus.apiPrefix}.STREAM.INFO.${stream}`, body, timeoutMs));
}
